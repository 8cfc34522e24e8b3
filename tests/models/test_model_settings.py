"""Wrong names, types and ranges are refused by the signature, before a model is built."""

import pytest
import torch

from dlrun.config.instantiate import component
from dlrun.errors import ConfigError

PROBABILITY = "a number of at least 0 and below 1"
COUNT = "a whole number of at least 1"
INITS = (
    "one of default, xavier_uniform, xavier_normal, kaiming_uniform, kaiming_normal, "
    "orthogonal, normal, zeros"
)


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        (
            "mlp",
            {"activaton": "relu"},
            "model.activaton is not a setting of model; did you mean activation?",
        ),
        ("mlp", {"dropout": 1.5}, f"model.dropout is 1.5, but must be {PROBABILITY}"),
        ("mlp", {"dropout": 1.0}, f"model.dropout is 1.0, but must be {PROBABILITY}"),
        ("mlp", {"hidden": 64}, f"model.hidden is 64, but must be a list ({COUNT} each)"),
        ("mlp", {"hidden": [64, 0]}, f"model.hidden[1] is 0, but must be {COUNT}"),
        (
            "mlp",
            {"activation": "rellu"},
            "model.activation is rellu, but must be one of sigmoid, tanh, relu, leaky_relu, prelu, "
            "elu, gelu, silu or a list (one of sigmoid, tanh, relu, leaky_relu, prelu, elu, gelu, silu "
            "each); did you mean relu?",
        ),
        (
            "mlp",
            {"batch_norm": True},
            "model.batch_norm is true, but must be one of none, before, after",
        ),
        ("logistic", {"bias": "yes"}, "model.bias is yes, but must be true or false"),
        (
            "logistic",
            {"init": "xavier"},
            f"model.init is xavier, but must be {INITS}",
        ),
        ("cnn", {"filters": [-16]}, f"model.filters[0] is -16, but must be {COUNT}"),
        (
            "cnn",
            {"kernel": "big"},
            f"model.kernel is big, but must be {COUNT} or a list ({COUNT} each)",
        ),
        (
            "cnn",
            {"padding": ["same", "sane"]},
            "model.padding[1] is sane, but must be one of same, valid or a whole number of at "
            "least 0; did you mean same?",
        ),
        ("cnn", {"dropout": [0.1, 2.0]}, f"model.dropout[1] is 2.0, but must be {PROBABILITY}"),
        ("lstm", {"cell": "lstn"}, "model.cell is lstn, but must be one of rnn, lstm, gru"),
        ("lstm", {"hidden_size": 0}, f"model.hidden_size is 0, but must be {COUNT}"),
        ("lenet5", {"variant": "new"}, "model.variant is new, but must be one of classic, modern"),
        ("torchvision", {"weights": 1}, "model.weights is 1, but must be text or null"),
    ],
)
def test_a_bad_setting_is_refused(name, overrides, message, build):
    with pytest.raises(ConfigError) as refused:
        build(name, None, **overrides)  # no spec: the answer must come before the model is built
    assert str(refused.value).startswith(message)


def test_a_missing_setting_is_refused():
    node = {"_target_": "dlrun.models.logistic.LogisticRegression", "bias": True}
    with pytest.raises(ConfigError, match=r"model\.init is missing: give it a value"):
        component("model", node, given=("spec",))


def test_a_model_of_the_users_own_is_built_and_checked_alike(tmp_path, monkeypatch, make_spec):
    (tmp_path / "mynet.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, spec, *, width: int):\n"
        "        super().__init__()\n"
        "        self.a = nn.Linear(spec.num_features, width)\n"
        "        self.b = nn.Linear(width, spec.num_outputs)\n"
        "    def forward(self, x):\n"
        "        return self.b(self.a(x))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    node = {"_target_": "mynet.Net", "width": 5}
    net = component("model", node, given=("spec",))(make_spec("features"))
    assert net(torch.zeros(3, 7)).shape == (3, 4)
    with pytest.raises(ConfigError, match=r"model\.width is abc, but must be a whole number"):
        component("model", {**node, "width": "abc"}, given=("spec",))
    with pytest.raises(ConfigError, match=r"widht is not a setting of model; did you mean width\?"):
        component("model", {"_target_": "mynet.Net", "widht": 5}, given=("spec",))
    with pytest.raises(ConfigError, match=r"model\.spec is not a setting of model"):
        component("model", {**node, "spec": 1}, given=("spec",))
