#include "dist/train/provenance_collect.h"

#include <jansson.h>
#include <jpeglib.h>
#include <lmdb.h>
#include <png.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>
#include <yaml.h>
#include <zlib.h>

#include "core/kernels/kernels.h"
#include "dist/comm/machine.h"
#include "version.h"

#define WORD(x)  #x
#define WORDS(x) WORD(x)

/* From cblas.h and blis.h, which do not compile without warnings. */
const char *bli_info_get_version_str(void);

/* Of those that are linked, as they say it themselves; libjpeg's is the one that was compiled against. */
static void list_libraries(char *text, size_t size)
{
    unsigned hash = XXH_versionNumber();
    int lmdb[3];
    mdb_version(&lmdb[0], &lmdb[1], &lmdb[2]);
    snprintf(text, size,
             "kernels for %s; BLIS %s, libjpeg-turbo " WORDS(
                 LIBJPEG_TURBO_VERSION) ", libpng %s, LMDB %d.%d.%d, libyaml %s, "
                                        "Jansson " JANSSON_VERSION ", zlib %s, xxHash %u.%u.%u, compiler " __VERSION__,
             kernels_best()->name, bli_info_get_version_str(), png_get_libpng_ver(NULL), lmdb[0], lmdb[1], lmdb[2],
             yaml_get_version_string(), zlibVersion(), hash / 10000, hash / 100 % 100, hash % 100);
}

Status provenance_collect(Provenance *provenance, const World *world, int threads, const char *command, Error *error)
{
    Machine machine;
    *provenance = (Provenance){.ranks = world->size, .nodes = world->node_count};
    Status status = machine_describe(world, threads, &machine, error);
    if (status) return status;
    provenance->threads = machine.threads;
    snprintf(provenance->version, sizeof provenance->version, "%s", T2T_VERSION);
    snprintf(provenance->command, sizeof provenance->command, "%s", command ? command : "");
    snprintf(provenance->hosts, sizeof provenance->hosts, "%s", machine.hosts);
    snprintf(provenance->processors, sizeof provenance->processors, "%s", machine.processors);
    snprintf(provenance->mpi, sizeof provenance->mpi, "%s", machine.mpi);
    list_libraries(provenance->libraries, sizeof provenance->libraries);
    return STATUS_OK;
}
