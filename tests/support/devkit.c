#include "tests/support/devkit.h"

#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "data/dataset/imagenet_classes.h"

typedef struct Mat {
    unsigned char bytes[1 << 20];
    size_t used;
} Mat;

static void mat_u32(Mat *mat, unsigned value)
{
    for (int i = 0; i < 4; i++) mat->bytes[mat->used++] = (unsigned char)(value >> 8 * i);
}

static void mat_element(Mat *mat, unsigned type, const void *data, size_t size)
{
    mat_u32(mat, type);
    mat_u32(mat, (unsigned)size);
    memcpy(mat->bytes + mat->used, data, size);
    mat->used += (size + 7) / 8 * 8;
}

/* The head of an array; returns where its size has to be put when it is complete. */
static size_t mat_begin(Mat *mat, unsigned class, unsigned rows, unsigned columns, const char *name)
{
    unsigned flags[2] = {class, 0}, dims[2] = {rows, columns};
    mat_u32(mat, 14);
    size_t at = mat->used;
    mat_u32(mat, 0);
    mat_element(mat, 6, flags, 8);
    mat_element(mat, 5, dims, 8);
    mat_element(mat, 1, name, strlen(name));
    return at;
}

static void mat_end(Mat *mat, size_t at)
{
    size_t end = mat->used;
    mat->used = at;
    mat_u32(mat, (unsigned)(end - at - 4));
    mat->used = end;
}

static void mat_number(Mat *mat, double value)
{
    size_t at = mat_begin(mat, 6, 1, 1, "");
    mat_element(mat, 9, &value, 8);
    mat_end(mat, at);
}

static void mat_text(Mat *mat, const char *text)
{
    unsigned short wide[256];
    size_t length = strlen(text);
    for (size_t i = 0; i < length; i++) wide[i] = (unsigned char)text[i];
    size_t at = mat_begin(mat, 4, 1, (unsigned)length, "");
    mat_element(mat, 4, wide, 2 * length);
    mat_end(mat, at);
}

unsigned char *devkit_meta(int classes, int twisted, size_t *size)
{
    static const char FIELDS[4][16] = {"ILSVRC2012_ID", "WNID", "words", "num_children"};
    enum { HEAD = 128, TAG = 8 };
    Mat *mat = calloc(1, sizeof *mat);
    unsigned char *file = calloc(1, HEAD + TAG + compressBound(sizeof mat->bytes));
    if (!mat || !file) return free(mat), free(file), NULL;
    size_t at = mat_begin(mat, 2, (unsigned)classes + 1, 1, "synsets");
    mat_u32(mat, 4u << 16 | 5); /* a small element: the width of a field's name */
    mat_u32(mat, sizeof FIELDS[0]);
    mat_element(mat, 1, FIELDS, sizeof FIELDS);
    for (int id = 1; id <= classes + 1; id++) {
        int of = id == twisted ? id - 1 : id == twisted - 1 ? twisted : id;
        const ImagenetClass *class = imagenet_class_of_id(id <= classes ? of : 0);
        mat_number(mat, id);
        mat_text(mat, class ? class->wnid : "n00001740");
        mat_text(mat, class ? class->words : "entity");
        mat_number(mat, class ? 0 : classes);
    }
    mat_end(mat, at);
    uLongf compressed = compressBound(sizeof mat->bytes);
    compress(file + HEAD + TAG, &compressed, mat->bytes, mat->used); /* fails only for want of room */
    memcpy(file, "MATLAB 5.0 MAT-file", 19);
    memcpy(file + 124, "\0\1IM", 4);
    mat->used = 0;
    mat_u32(mat, 15);
    mat_u32(mat, (unsigned)compressed);
    memcpy(file + HEAD, mat->bytes, TAG);
    free(mat);
    *size = HEAD + TAG + compressed;
    return file;
}
