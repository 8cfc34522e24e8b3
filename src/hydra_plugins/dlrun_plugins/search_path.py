"""Adds the working directory's `configs/` to Hydra's search path, before the packaged ones.

Imported at the start of every Hydra program in the environment: nothing heavy, and no effect on
programs other than dlrun.
"""

from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.plugins.search_path_plugin import SearchPathPlugin

from dlrun.config.search_path import packaged_configs, user_configs


class WorkingDirectoryConfigs(SearchPathPlugin):
    """A user's option needs no installation: it is found beside the code that it configures."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        packaged = str(packaged_configs())
        if packaged not in [element.path for element in search_path.get_path()]:
            return  # somebody else's program
        if (folder := user_configs()) is not None:
            packaged_element = SearchPathQuery(provider=None, path=packaged)
            search_path.prepend("working-directory", f"file://{folder}", anchor=packaged_element)
