"""Builds as pyproject.toml says, and copies mlflow/*.yaml into the wheel as pipelines/policy/.

The policy stays where operators look for it in a checkout, and a promotion works from an installed wheel anywhere.
"""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithPolicy(build_py):
    """build_py, then the policy files."""

    def run(self) -> None:
        """Copy after the packages; an editable install reads mlflow/ itself."""
        super().run()
        if not self.editable_mode:
            for source in self._policy():
                self.copy_file(str(source), str(self._target(source)))

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """Also the copied files, so that installers know them."""
        own = super().get_outputs(include_bytecode)
        return own if self.editable_mode else [*own, *(str(self._target(source)) for source in self._policy())]

    def _policy(self) -> list[Path]:
        return sorted((Path(__file__).resolve().parent / "mlflow").glob("*.yaml"))

    def _target(self, source: Path) -> Path:
        folder = Path(self.build_lib) / "pipelines" / "policy"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / source.name


setup(cmdclass={"build_py": BuildWithPolicy})
