"""Keras 3 on torch: `model.fit` on NumPy arrays, with its progress bar."""

from __future__ import annotations

import os
from collections.abc import Callable

os.environ["KERAS_BACKEND"] = "torch"  # read as keras is imported
os.environ["KERAS_HOME"] = os.getcwd()

import keras
from keras import layers

from peer_programs import job, mnist

MODELS: dict[str, Callable[[], list[layers.Layer]]] = {
    "logistic": lambda: [layers.Flatten()],
    "mlp": lambda: [layers.Flatten(), layers.Dense(128, activation="relu")],
    "cnn": lambda: [
        layers.Reshape((28, 28, 1)),
        layers.Conv2D(16, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(32, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(64, activation="relu"),
    ],
    "lstm": lambda: [layers.LSTM(64)],
}


def build(case: str) -> keras.Model:
    """The model of `case`, from images (28, 28) to 10 scores."""
    return keras.Sequential([keras.Input((28, 28)), *MODELS[case](), layers.Dense(10)])


class Observer(keras.callbacks.Callback):
    """Tells the watch."""

    def __init__(self, watch: job.Watch) -> None:
        super().__init__()
        self.watch = watch

    def on_train_begin(self, logs: object = None) -> None:
        """Everything is ready."""
        self.watch.begin()

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        """A step is done."""
        self.watch.stepped()

    def on_train_end(self, logs: object = None) -> None:
        """The last validation is done."""
        self.watch.end()


def main() -> None:
    """Train and test."""
    work, watch = job.read()
    keras.utils.set_random_seed(work.seed)
    inputs, targets = mnist.images(work.data, "train"), mnist.labels(work.data, "train")
    test = mnist.images(work.data, "t10k"), mnist.labels(work.data, "t10k")
    held_out = len(targets) - job.VALIDATION
    model = build(work.case)
    model.compile(
        optimizer=keras.optimizers.Adam(job.LEARNING_RATE, epsilon=1e-8),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(
        inputs[:held_out],
        targets[:held_out],
        batch_size=job.BATCH_SIZE,
        epochs=work.epochs,
        validation_data=(inputs[held_out:], targets[held_out:]),
        validation_batch_size=job.EVALUATION_BATCH_SIZE,
        callbacks=[Observer(watch)],
    )
    watch.report(model.evaluate(*test, batch_size=job.EVALUATION_BATCH_SIZE)[1])


if __name__ == "__main__":
    main()
