"""Put the configs, which lie beside the package, into the wheel as `piqa/configs`; all else is in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["piqa", "piqa.*"]), "piqa.configs", "piqa.configs.pretrain"],
    package_dir={"piqa.configs": "configs", "piqa.configs.pretrain": "pretrain"},
)
