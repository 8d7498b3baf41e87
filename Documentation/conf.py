# SPDX-License-Identifier: GPL-2.0
"""Configuration of Sphinx: sphinx-build -W -n Documentation build/sphinx"""

project = "daxmf"
copyright = "The daxmf developers"
