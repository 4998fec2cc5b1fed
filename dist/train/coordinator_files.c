#include <stdio.h>

#include "core/base/file.h"
#include "core/base/path.h"
#include "dist/train/coordinator_internal.h"
#include "dist/train/run_folder.h"

bool coordinator_sharded(const CoordinatorSetup *setup)
{
    return setup->config->zero == 1 && setup->world->size > 1;
}

Status coordinator_files(CoordinatorFiles *files, const CoordinatorSetup *setup, Error *error)
{
    char path[CHECKPOINT_PATH];
    size_t size;
    Status status = path_join(files->folder, sizeof files->folder, setup->output, "checkpoints", error);
    if (!status) status = path_join(path, sizeof path, setup->output, "config.yaml", error);
    if (!status) status = file_read(path, 1 << 20, &files->config, &size, error);
    if (status) return status;
    snprintf(files->layout, sizeof files->layout, "%d ranks x %d threads", setup->world->size,
             pool_threads(setup->pool));
    return STATUS_OK;
}

WriterConfig coordinator_writer_config(const CoordinatorSetup *setup, const CoordinatorFiles *files,
                                       const CheckpointShare *share)
{
    const OptimConfig *optim = &setup->config->optim;
    return (WriterConfig){.folder = files->folder,
                          .run = setup->output,
                          .table = setup->table,
                          .config = files->config,
                          .layout = files->layout,
                          .metadata = setup->metadata,
                          .provenance = setup->provenance_text,
                          .keep = setup->config->keep,
                          .head = share->head,
                          .vectors = {.weights = share->head,
                                      .ema = share->head && optim->ema_decay > 0,
                                      .moment1 = share->moments,
                                      .moment2 = share->moments && optim_has_moment2(optim->kind),
                                      .begin = share->begin,
                                      .end = share->end},
                          .part = share->part,
                          .parts = share->parts,
                          .others = share->others};
}
