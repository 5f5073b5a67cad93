"""Sphinx settings: `pip install -e '.[docs]'`, then `sphinx-build -W docs docs/_build`."""

from importlib.metadata import version as _version

project = "probact"
release = version = _version("probact")
copyright = "the probact authors"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]
html_theme = "alabaster"
autodoc_typehints = "signature"
autosummary_generate = True
myst_heading_anchors = 3
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "plot_gallery": False,  # the experiments take data and time: the gallery shows their code
    "filename_pattern": r"\.py$",
    "ignore_pattern": r"(accuracy_tables|activation_figures|activation_tables|ald_figures"
    r"|ald_tables|cnn_responses|head_predictors|head_sources|head_tables|hvae_tables|mixtures"
    r"|orthogonal_tables|pretrained|region_tables|runs|split_sources|vae_claims|vae_networks)\.py$",
    "download_all_examples": False,
}
suppress_warnings = ["config.cache", "myst.xref_missing"]


def plain_text(app, what, name, obj, options, lines):
    """Docstrings are plain text: |x| is a norm and S* a star, not reST markup."""
    for i, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            lines[i] = line.replace("|", r"\|").replace("*", r"\*")


def setup(app):
    app.connect("autodoc-process-docstring", plain_text, priority=400)  # before napoleon
