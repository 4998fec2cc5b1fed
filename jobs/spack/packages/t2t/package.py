# t2t for Spack, from a checkout:
#
#     spack repo add jobs/spack
#     spack dev-build t2t@main ^openmpi        # builds the folder where one stands; installs it
#     spack load t2t && t2t --help
from spack.package import *

try:  # since Spack 1.0 the build systems are a package repository of their own
    from spack_repo.builtin.build_systems.makefile import MakefilePackage
except ImportError:
    pass


class T2t(MakefilePackage):
    """Trains Tokens-to-Token Vision Transformers on CPU clusters."""

    license("BSD-3-Clause")

    version("main")

    depends_on("c", type="build")
    depends_on("gmake", type="build")
    depends_on("pkgconfig", type="build")
    depends_on("mpi@3.1:")
    depends_on("blis threads=none")  # the serial one: t2t calls it from threads of its own
    depends_on("libjpeg-turbo@2:")
    depends_on("libpng")
    depends_on("lmdb")
    depends_on("libyaml")
    depends_on("xxhash")
    depends_on("jansson")
    depends_on("zlib-api")
    depends_on("libarchive")

    def variables(self):
        """What the first lines of the Makefile tell; the compiler is this build's, not MPI's."""
        blis = self.spec["blis"]
        return [
            "CC={0}".format(spack_cc),
            "MPICC={0}".format(self.spec["mpi"].mpicc),
            "PREFIX={0}".format(self.prefix),
            "BLIS_CFLAGS=-I{0}".format(blis.prefix.include.blis),
            "BLIS_LIBS=-L{0} -Wl,-rpath,{0} -lblis".format(blis.prefix.lib),
        ]

    def build(self, spec, prefix):
        make(*self.variables())

    def install(self, spec, prefix):
        make("install", *self.variables())
