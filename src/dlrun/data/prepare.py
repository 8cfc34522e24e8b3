"""Every kind of raw data and what becomes of it: the one place that knows them all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dlrun.config import DataSettings
from dlrun.data.arrays import Scaling, prepare_source
from dlrun.data.base import Dataset, Preprocessing
from dlrun.data.baselines import with_baselines
from dlrun.data.character_encoding import CharacterEncoding, prepare_characters
from dlrun.data.characters import Characters
from dlrun.data.classes import note_missing_classes
from dlrun.data.forecasting import prepare_series
from dlrun.data.image_data import prepare_images
from dlrun.data.image_folder import ImageFiles
from dlrun.data.series import Series
from dlrun.data.series_scaling import SeriesScaling
from dlrun.data.source import Source
from dlrun.data.table import Table
from dlrun.data.table_encoding import TableEncoding, prepare_table
from dlrun.data.text_encoding import TextEncoding, prepare_texts
from dlrun.data.texts import Texts
from dlrun.errors import ConfigError

_PREPROCESSINGS: dict[str, type[Preprocessing]] = {
    cls.kind: cls
    for cls in (Scaling, SeriesScaling, CharacterEncoding, TableEncoding, TextEncoding)
}


def prepare(raw: Any, settings: DataSettings) -> Dataset:
    """Split what a dataset's target returned, fit on the training part what has to be, apply it to all parts.

    Raises:
        ConfigError: it cannot be split as asked, or is nothing that dlrun knows.
    """
    data = with_baselines(_prepare(raw, settings))
    note_missing_classes(data)
    return data


def _prepare(raw: Any, settings: DataSettings) -> Dataset:
    match raw:
        case Source():
            return prepare_source(raw, settings)
        case Characters():
            return prepare_characters(raw, settings)
        case ImageFiles():
            return prepare_images(raw, settings)
        case Series():
            return prepare_series(raw, settings)
        case Table():
            return prepare_table(raw, settings)
        case Texts():
            return prepare_texts(raw, settings)
    raise ConfigError(
        f"dataset._target_ returned a {type(raw).__name__}, but must return a dlrun.data.source.Source"
    )


def preprocessing_from(plain: Mapping[str, Any]) -> Preprocessing:
    """What `Preprocessing.to_dict` gave, as an object again.

    Raises:
        KeyError, TypeError: it is of no kind that is known, or lacks values.
    """
    values = dict(plain)
    return _PREPROCESSINGS[values.pop("kind", Scaling.kind)](**values)
