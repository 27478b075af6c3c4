"""The packages of the wheel: the library, and the tables of ``data/`` inside it as ``recsys_lib/tables``."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["recsys_lib*"]), "recsys_lib.tables"],
    package_dir={"recsys_lib.tables": "data"},
    package_data={
        "recsys_lib": [
            *("**/*.c", "**/*.h", "**/*.js", "**/*.html", "**/*.css"),
            *("llm/templates/**/*.txt", "reporting/pages/*.md"),
        ],
        "recsys_lib.tables": ["*.toml", "*.csv", "measurements/*.json", "measurements/notebooks/*.json"],
    },
)
