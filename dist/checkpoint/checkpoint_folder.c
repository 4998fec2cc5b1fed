/* checkpoint_folder.c: which checkpoints there are, and the removal of old ones.
 *
 * People keep their own files beside and inside checkpoints, and move old ones to other disks. So nothing here follows a
 * link, and only files that a manifest lists, or whose names and temporary names are a checkpoint's, are ever removed. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/memory.h"
#include "dist/checkpoint/checkpoint_internal.h"

void checkpoint_path(char *path, const char *folder, int64_t step)
{
    /* The precision leaves room for the name and the files in it; longer folders are refused by the run folder. */
    snprintf(path, CHECKPOINT_PATH, "%.3900s/step-%08" PRId64, folder, step);
}

void checkpoint_pending_path(char *path, const char *folder, int64_t epoch)
{
    snprintf(path, CHECKPOINT_PATH, "%.3900s/pending-%08" PRId64, folder, epoch);
}

/* ---- names */

/* The number of "step-NNNNNNNN" or "pending-NNNNNNNN"; -1: not such a name. */
static int64_t number_of_name(const char *name, const char *prefix)
{
    char *end;
    size_t length = strlen(prefix);
    if (strncmp(name, prefix, length) != 0 || name[length] < '0' || name[length] > '9') return -1;
    errno = 0;
    long long number = strtoll(name + length, &end, 10);
    return *end || errno || strlen(name) < length + 8 ? -1 : (int64_t)number;
}

static int64_t step_of_name(const char *name)
{
    return number_of_name(name, "step-");
}

static int64_t epoch_of_name(const char *name)
{
    return number_of_name(name, "pending-");
}

static bool is_part(const char *name)
{
    return strncmp(name, "optimizer-", 10) == 0;
}

/* Whether this program gives such a name to a file of a checkpoint, or to one that it has not finished. */
static bool is_own_name(const char *name)
{
    static const char *const NAMES[] = {CHECKPOINT_MANIFEST, "weights.safetensors", "ema.safetensors",
                                        "optimizer.safetensors"};
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++)
        if (strcmp(name, NAMES[i]) == 0 || file_is_temporary(name, NAMES[i])) return true;
    int part, parts, end = 0;
    if (sscanf(name, "optimizer-%d-of-%d.safetensors%n", &part, &parts, &end) != 2 || end == 0) return false;
    char whole[sizeof "optimizer--of-.safetensors" + 24];
    snprintf(whole, sizeof whole, "%.*s", end, name);
    return (size_t)end < sizeof whole && (!name[end] || file_is_temporary(name, whole));
}

/* A network file system keeps a removed file that is still open under such a name, until it is closed. */
static bool is_waiting_name(const char *name)
{
    return strncmp(name, ".nfs", 4) == 0;
}

static bool is_listed(const CheckpointFile *files, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (strcmp(name, files[i].name) == 0) return true;
    return false;
}

/* ---- folders */

typedef Status (*NameVisit)(void *context, int folder, const char *name, Error *error);

/* Calls `visit` for each name in an open folder. A failure does not keep it from the others; the first is returned. */
static Status each_name(int fd, const char *folder, NameVisit visit, void *context, Error *error)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = copy < 0 ? NULL : fdopendir(copy);
    if (!directory) {
        Status status = error_set(error, STATUS_FAILED, "%s: cannot list: %s", folder, strerror(errno));
        if (copy >= 0) close(copy);
        return status;
    }
    Status status = STATUS_OK;
    for (struct dirent *entry; (entry = readdir(directory));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        Status one = visit(context, fd, entry->d_name, error);
        if (!status) status = one;
    }
    closedir(directory);
    return status;
}

/* The same for the folder of all checkpoints, which may be a link; one that is not there has none. */
static Status each_checkpoint(const char *folder, NameVisit visit, void *context, Error *error)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) return STATUS_OK;
    if (fd < 0) return error_set(error, STATUS_FAILED, "%s: cannot list: %s", folder, strerror(errno));
    Status status = each_name(fd, folder, visit, context, error);
    close(fd);
    return status;
}

static Status remove_name(int fd, const char *folder, const char *name, Error *error)
{
    if (unlinkat(fd, name, 0) == 0 || errno == ENOENT) return STATUS_OK;
    return error_set(error, STATUS_FAILED, "%s/%s: cannot remove: %s", folder, name, strerror(errno));
}

/* What is left must never look like a checkpoint. */
static Status remove_manifest(int fd, const char *path, Error *error)
{
    if (unlinkat(fd, CHECKPOINT_MANIFEST, 0) != 0)
        return errno == ENOENT ? STATUS_OK : remove_name(fd, path, CHECKPOINT_MANIFEST, error);
    if (fsync(fd) != 0 && errno != EINVAL && errno != ENOTSUP)
        return error_set(error, STATUS_FAILED, "%s: cannot sync the folder: %s", path, strerror(errno));
    return STATUS_OK;
}

static bool has_manifest(int folder, const char *name)
{
    char manifest[PATH_SIZE];
    Error ignored = {0};
    return path_join(manifest, sizeof manifest, name, CHECKPOINT_MANIFEST, &ignored) == STATUS_OK &&
           faccessat(folder, manifest, F_OK, 0) == 0;
}

/* ---- removing one */

typedef struct Contents { /* of a folder that is looked through */
    const char *path;
    const CheckpointFile *files; /* that its manifest lists */
    int count;
    bool keep_parts;
    char foreign[256]; /* the name of a file that is not a checkpoint's; "": none */
} Contents;

static Status find_foreign(void *context, int fd, const char *name, Error *error)
{
    Contents *contents = context;
    (void)fd;
    (void)error;
    if (!contents->foreign[0] && !is_own_name(name) && !is_listed(contents->files, contents->count, name) &&
        !is_waiting_name(name))
        snprintf(contents->foreign, sizeof contents->foreign, "%s", name);
    return STATUS_OK;
}

static Status remove_own(void *context, int fd, const char *name, Error *error)
{
    const Contents *contents = context;
    if (!is_own_name(name) && !is_listed(contents->files, contents->count, name)) return STATUS_OK;
    return contents->keep_parts && is_part(name) ? STATUS_OK : remove_name(fd, contents->path, name, error);
}

/* The same words while the checkpoint is still there and when only the file is, so that it is told once. */
static Status error_foreign(const char *path, const char *foreign, Error *error)
{
    return error_set(error, STATUS_FAILED,
                     "%s: an old checkpoint's folder stays, since it holds %s, which is no file of a "
                     "checkpoint",
                     path, foreign);
}

/* The files of the manifest that lies there; without one that can be read, none. */
static void read_manifest(int fd, const char *path, Checkpoint *checkpoint)
{
    char *bytes;
    size_t size;
    Error ignored = {0};
    *checkpoint = (Checkpoint){0};
    int manifest = openat(fd, CHECKPOINT_MANIFEST, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (manifest < 0) return;
    if (file_read_open(manifest, path, CHECKPOINT_MANIFEST_LIMIT, &bytes, &size, &ignored) == STATUS_OK) {
        checkpoint_manifest_parse(checkpoint, path, bytes, size, &ignored);
        free(bytes);
    }
    close(manifest);
}

static Status remove_contents(int fd, const char *path, bool written_here, Error *error)
{
    Checkpoint checkpoint;
    read_manifest(fd, path, &checkpoint);
    Contents contents = {.path = path, .files = checkpoint.files, .count = checkpoint.count};
    Status status = STATUS_OK;
    if (checkpoint.count == 0 && !written_here) {
        status = each_name(fd, path, find_foreign, &contents, error);
        if (!status && contents.foreign[0]) status = error_foreign(path, contents.foreign, error);
    }
    if (!status) status = remove_manifest(fd, path, error);
    if (!status) status = each_name(fd, path, remove_own, &contents, error);
    checkpoint_close(&checkpoint);
    return status;
}

static Status explain_left(int fd, const char *path, Error *error)
{
    Contents contents = {.path = path};
    int code = errno;
    if (code == ENOENT) return STATUS_OK;
    each_name(fd, path, find_foreign, &contents, error);
    if (code == ENOTEMPTY || code == EEXIST)
        return error_foreign(path, contents.foreign[0] ? contents.foreign : "a file that is open (.nfs*)", error);
    return error_set(error, STATUS_FAILED, "%s: cannot remove: %s", path, strerror(code));
}

static Status remove_folder(const char *path, bool written_here, Error *error)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) return STATUS_OK;
    if (fd < 0) return error_set(error, STATUS_FAILED, "%s: not removed: %s", path, strerror(errno));
    Status status = remove_contents(fd, path, written_here, error);
    if (!status && rmdir(path) != 0) status = explain_left(fd, path, error);
    close(fd);
    return status;
}

Status checkpoint_remove(const char *path, Error *error)
{
    return remove_folder(path, false, error);
}

Status checkpoint_abandon(const char *path, Error *error)
{
    return remove_folder(path, true, error);
}

/* ---- listing */

typedef struct StepList {
    const char *folder;
    int64_t *steps;
    int count, room;
} StepList;

static Status collect_step(void *context, int folder, const char *name, Error *error)
{
    StepList *list = context;
    int64_t step = step_of_name(name);
    if (step < 0 || !has_manifest(folder, name)) return STATUS_OK;
    if (list->count == list->room) {
        int room = list->room ? 2 * list->room : 16;
        Status status = memory_resize((void **)&list->steps, room, sizeof *list->steps, "a list of checkpoints", error);
        if (status) return status;
        list->room = room;
    }
    list->steps[list->count++] = step;
    return STATUS_OK;
}

static int newest_first(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left < right) - (left > right);
}

Status checkpoint_list(const char *folder, int64_t **steps, int *count, Error *error)
{
    StepList list = {.folder = folder};
    Status status = each_checkpoint(folder, collect_step, &list, error);
    if (status) {
        free(list.steps);
        return status;
    }
    if (list.count) qsort(list.steps, (size_t)list.count, sizeof *list.steps, newest_first);
    *steps = list.steps;
    *count = list.count;
    return STATUS_OK;
}

/* ---- pruning */

typedef struct Pruning {
    const char *folder;
    int64_t oldest, newest; /* kept, of steps */
    int64_t epoch;          /* the first that is kept, of what is pending */
} Pruning;

/* Removes a checkpoint that is not to be kept, or is not whole. A link to one, or a file of such a name, is the user's. */
static Status prune(const Pruning *pruning, int folder, const char *name, bool wanted, Error *error)
{
    char path[PATH_SIZE];
    struct stat info;
    if (fstatat(folder, name, &info, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(info.st_mode)) return STATUS_OK;
    if (wanted && has_manifest(folder, name)) return STATUS_OK;
    Status status = path_join(path, sizeof path, pruning->folder, name, error);
    return status ? status : checkpoint_remove(path, error);
}

static Status prune_step(void *context, int folder, const char *name, Error *error)
{
    const Pruning *pruning = context;
    int64_t step = step_of_name(name);
    if (step < 0) return STATUS_OK;
    return prune(pruning, folder, name, step >= pruning->oldest && step <= pruning->newest, error);
}

static Status prune_pending(void *context, int folder, const char *name, Error *error)
{
    const Pruning *pruning = context;
    int64_t epoch = epoch_of_name(name);
    return epoch < 0 ? STATUS_OK : prune(pruning, folder, name, epoch >= pruning->epoch, error);
}

Status checkpoint_prune(const char *folder, int64_t step, int keep, Error *error)
{
    int64_t *steps;
    int count, kept = 0;
    Status status = checkpoint_list(folder, &steps, &count, error);
    if (status) return status;
    Pruning pruning = {.folder = folder, .oldest = step, .newest = step};
    for (int i = 0; i < count && kept < (keep > 1 ? keep : 1); i++) {
        if (steps[i] > step) continue;
        pruning.oldest = steps[i];
        kept++;
    }
    free(steps);
    return each_checkpoint(folder, prune_step, &pruning, error);
}

Status checkpoint_prune_pending(const char *folder, int64_t validated, Error *error)
{
    Pruning pruning = {.folder = folder, .epoch = validated + 1};
    return each_checkpoint(folder, prune_pending, &pruning, error);
}

/* ---- before and after writing */

static Status sweep_file(void *context, int fd, const char *name, Error *error)
{
    (void)context;
    (void)error;
    if (is_own_name(name) && strstr(name, ".tmp.")) file_remove_orphan(fd, name);
    return STATUS_OK;
}

static Status sweep_folder(void *context, int folder, const char *name, Error *error)
{
    if (step_of_name(name) < 0 && epoch_of_name(name) < 0) return STATUS_OK;
    int fd = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return STATUS_OK;
    Status status = each_name(fd, name, sweep_file, context, error);
    close(fd);
    return status;
}

Status checkpoint_sweep(const char *folder, Error *error)
{
    return each_checkpoint(folder, sweep_folder, NULL, error);
}

Status checkpoint_begin(const char *path, Error *error)
{
    Status status = file_make_folders(path, error);
    if (status) return status;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return error_set(error, STATUS_FAILED, "%s: no checkpoint is written into what is no folder of its own: %s",
                         path, strerror(errno));
    Checkpoint before;
    read_manifest(fd, path, &before);
    Contents contents = {.path = path, .files = before.files, .count = before.count, .keep_parts = true};
    status = remove_manifest(fd, path, error);
    if (!status) status = each_name(fd, path, remove_own, &contents, error);
    checkpoint_close(&before);
    close(fd);
    return status ? status : file_sync_folder(path, error);
}

static Status clear_name(void *context, int fd, const char *name, Error *error)
{
    const Contents *contents = context;
    bool stays = strcmp(name, CHECKPOINT_MANIFEST) == 0 || is_listed(contents->files, contents->count, name);
    return stays || !is_own_name(name) ? STATUS_OK : remove_name(fd, contents->path, name, error);
}

Status checkpoint_clear(const char *path, const CheckpointFile *files, int count, Error *error)
{
    Contents contents = {.path = path, .files = files, .count = count};
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return error_set(error, STATUS_FAILED, "%s: cannot open: %s", path, strerror(errno));
    Status status = each_name(fd, path, clear_name, &contents, error);
    close(fd);
    return status;
}
