"""torchvision's networks adapted to other channels and classes, offline."""

import warnings
from urllib.error import URLError

import pytest
import torch
import torchvision
from torch import nn

from dlrun.errors import ConfigError


@pytest.fixture
def network(build, make_spec):
    """(name, shape, overrides) -> a network for images of `shape` and 4 classes."""

    def make(name, shape, *, task="multiclass", **overrides):
        spec = make_spec("image", task, shape)
        return build("torchvision", spec, name=name, **overrides)

    return make


def test_three_channels_and_other_classes_change_the_last_layer_alone(network):
    model = network("resnet18", (3, 32, 32))
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 4)
    theirs = torchvision.models.resnet18().state_dict()
    for path, tensor in model.net.state_dict().items():
        assert (tensor.shape == theirs[path].shape) != path.startswith("fc."), path


def test_one_channel_replaces_the_first_layer_too(network):
    model = network("resnet18", (1, 28, 28))
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 4)
    first = model.net.conv1
    assert first.weight.shape == (64, 1, 7, 7)
    assert first.stride == (2, 2) and first.padding == (3, 3) and first.bias is None


# One of each way in which torchvision's networks begin and end.
@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("densenet121", 32),
        ("googlenet", 32),
        ("inception_v3", 75),
        ("mobilenet_v3_small", 32),
        ("shufflenet_v2_x0_5", 32),
        ("squeezenet1_1", 32),
        ("regnet_y_400mf", 32),
        ("swin_t", 32),
    ],
)
def test_every_family_gives_one_plain_row_of_scores_a_sample_in_training(name, side, network):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = network(name, (1, side, side)).train()
    scores = model(torch.randn(2, 1, side, side))
    assert isinstance(scores, torch.Tensor) and scores.shape == (2, 4)
    scores.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_squeezenet_has_negative_scores_too(network):
    model = network("squeezenet1_1", (3, 32, 32), task="binary").eval()
    nn.init.constant_(model.net.classifier[1].bias, -5.0)
    assert (model(torch.zeros(1, 3, 32, 32)) < 0).all()


def test_the_dry_pass_leaves_the_network_in_training_and_its_statistics_untouched(network):
    model = network("resnet18", (1, 28, 28))
    assert all(module.training for module in model.modules())
    assert not model.net.bn1.running_mean.any() and model.net.bn1.num_batches_tracked == 0


@pytest.fixture
def stored_weights(tmp_path, monkeypatch):
    """squeezenet1_1's file of weights where torchvision looks before it fetches."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("DLRUN_DATA", str(tmp_path / "data"))
    weights = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    state = torchvision.models.squeezenet1_1().state_dict()
    torch.save(state, folder / weights.url.rpartition("/")[2])
    return state


def test_weights_fill_all_but_the_last_layer(stored_weights, network):
    model = network("squeezenet1_1", (3, 32, 32), weights="IMAGENET1K_V1")
    for path, tensor in model.net.state_dict().items():
        if not path.startswith("classifier."):
            assert torch.equal(tensor, stored_weights[path]), path
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 4)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_weights_read_a_grey_image_as_they_did_in_colour(channels, stored_weights, network):
    model = network("squeezenet1_1", (channels, 32, 32), weights="DEFAULT")
    theirs = torchvision.models.squeezenet1_1()
    theirs.load_state_dict(stored_weights)
    grey = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(
        model.net.features(grey.expand(-1, channels, -1, -1)),
        theirs.features(grey.expand(-1, 3, -1, -1)),
    )


def test_weights_that_cannot_be_fetched_are_refused(tmp_path, monkeypatch, network):
    def offline(*args, **kwargs):
        raise URLError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("DLRUN_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("torch.hub.urlopen", offline)
    with pytest.raises(ConfigError) as refused:
        network("resnet18", (3, 32, 32), weights="IMAGENET1K_V1")
    weights = torchvision.models.ResNet18_Weights.IMAGENET1K_V1
    file = weights.url.rpartition("/")[2]
    assert str(refused.value) == (
        f"model.weights is IMAGENET1K_V1, but its file {file} is neither in {tmp_path / 'data'} nor in "
        f"{tmp_path / 'hub/checkpoints'}, and could not be fetched from {weights.url} "
        "(<urlopen error Name or service not known>); put it into one of these folders, or set model.weights=null for "
        "fresh weights"
    )


@pytest.mark.parametrize("damaged", [b"", b"PK", b"not weights"])
def test_a_damaged_file_of_weights_is_named(damaged, stored_weights, tmp_path, network):
    (file,) = (tmp_path / "hub" / "checkpoints").iterdir()
    file.write_bytes(damaged)
    with pytest.raises(ConfigError) as refused:
        network("squeezenet1_1", (3, 32, 32), weights="DEFAULT")
    assert f"model.weights is IMAGENET1K_V1, but {file} cannot be read (" in str(refused.value)


def test_weights_in_the_folder_of_data_come_before_those_in_the_cache_of_torch(
    stored_weights, tmp_path, monkeypatch, network
):
    theirs = torchvision.models.squeezenet1_1().state_dict()
    (cached,) = (tmp_path / "hub" / "checkpoints").iterdir()
    (tmp_path / "data").mkdir()
    torch.save(theirs, tmp_path / "data" / cached.name)
    monkeypatch.setattr("torch.hub.urlopen", None)
    for folder, expected in (("data", theirs), ("elsewhere", stored_weights)):
        monkeypatch.setenv("DLRUN_DATA", str(tmp_path / folder))
        model = network("squeezenet1_1", (3, 32, 32), weights="DEFAULT")
        first = model.net.features[0].weight
        assert torch.equal(first, expected["features.0.weight"])


def test_images_are_scaled_to_the_side_that_is_asked_for(network):
    model = network("resnet18", (1, 8, 12), resize=64).eval()
    seen = []
    model.net.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape))
    model(torch.zeros(2, 1, 8, 12))
    assert seen == [(2, 1, 64, 96)]
    assert network("inception_v3", (1, 28, 28), resize=75)(torch.randn(2, 1, 28, 28)).shape == (
        2,
        4,
    )


def test_images_too_small_are_refused_before_any_weights_are_fetched(monkeypatch, network):
    monkeypatch.setattr("torch.hub.urlopen", None)
    with pytest.raises(ConfigError) as refused:
        network("inception_v3", (1, 28, 28), weights="DEFAULT")
    message = str(refused.value)
    # In brackets follow torch's own words, which differ from version to version.
    assert message.startswith("model.name is inception_v3, which cannot read images of 1x28x28 (")
    assert message.endswith(
        "choose another network, such as resnet18, or scale the images, as with model.resize=224"
    )
    assert "\n" not in message


def test_an_unknown_network_is_refused_with_the_nearest(network):
    with pytest.raises(ConfigError) as refused:
        network("resnet81", (3, 32, 32))
    assert str(refused.value) == (
        "model.name is resnet81, which torchvision does not have; did you mean resnet18?"
    )


def test_unknown_weights_are_refused_with_the_nearest(network):
    with pytest.raises(ConfigError) as refused:
        network("resnet18", (3, 32, 32), weights="IMAGENET1K_V3")
    assert str(refused.value).startswith(
        "model.weights is IMAGENET1K_V3, which torchvision does not have for resnet18; did you mean"
    )


def test_only_images_are_read(build, make_spec):
    with pytest.raises(ConfigError) as refused:
        build("torchvision", make_spec("features"))
    assert str(refused.value) == (
        "model=torchvision reads images, but the data has 7 plain features; "
        "choose model=mlp or a dataset of images"
    )
