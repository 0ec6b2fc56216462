"""Puts the library into the wheel. INFERNO_PREFIX says where Inferno is installed:

    INFERNO_PREFIX=/opt/inferno pip wheel . --no-deps
"""

import os
import pathlib
import shutil
import sysconfig

from setuptools import setup
from setuptools.command.build_py import build_py

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # setuptools before 70.1
    from wheel.bdist_wheel import bdist_wheel


class WithLibrary(build_py):
    def run(self):
        super().run()
        prefix = pathlib.Path(os.environ.get("INFERNO_PREFIX", "/usr/local"))
        package = pathlib.Path(self.build_lib) / "inferno"
        shutil.copy(prefix / "lib" / "libinferno.so", package / "libinferno.so")
        # Isolated loads find their helper beside the library.
        shutil.copy(prefix / "libexec" / "inferno" / "inferno-check", package / "inferno-check")


class ForAnyPython(bdist_wheel):
    """ctypes works with every Python 3; the library is for one platform."""

    def finalize_options(self):
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self):
        return "py3", "none", sysconfig.get_platform().replace("-", "_").replace(".", "_")


setup(cmdclass={"build_py": WithLibrary, "bdist_wheel": ForAnyPython})
