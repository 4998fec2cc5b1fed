#include "data/convert/matfile.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

enum MatType {
    MI_INT8 = 1,
    MI_UINT8,
    MI_INT16,
    MI_UINT16,
    MI_INT32,
    MI_UINT32,
    MI_SINGLE,
    MI_DOUBLE = 9,
    MI_INT64 = 12,
    MI_UINT64,
    MI_MATRIX,
    MI_COMPRESSED,
    MI_UTF8,
    MI_UTF16
};
enum MatClass { CLASS_STRUCT = 2, CLASS_CHAR = 4 };

enum { INFLATED_LIMIT = 256 << 20, SYNSET_LIMIT = 1 << 20, FIELD_LIMIT = 64 };

typedef struct Element {
    uint32_t type;
    const uint8_t *data;
    size_t size;
} Element;

typedef struct Reader {
    const uint8_t *at, *end;
} Reader;

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

/* A tag of 8 bytes, data, padding to 8; or, for at most 4 bytes of data, all in 8. */
static bool next_element(Reader *reader, Element *element)
{
    size_t left = (size_t)(reader->end - reader->at);
    if (left < 8) return false;
    uint32_t tag = get32(reader->at);
    if (tag >> 16) {
        *element = (Element){tag & 0xffff, reader->at + 4, tag >> 16};
        reader->at += 8;
        return element->size <= 4;
    }
    *element = (Element){tag, reader->at + 8, get32(reader->at + 4)};
    if (element->size > left - 8) return false;
    size_t padded = element->type == MI_COMPRESSED ? element->size : (element->size + 7) / 8 * 8;
    reader->at += 8 + (padded < left - 8 ? padded : left - 8);
    return true;
}

typedef struct Matrix {
    unsigned class;
    size_t count; /* elements: product of the dimensions */
    Element name;
    Reader rest; /* what follows: the class's own */
} Matrix;

static bool open_matrix(const Element *element, Matrix *matrix)
{
    Element flags, dimensions;
    if (element->type != MI_MATRIX) return false;
    matrix->rest = (Reader){element->data, element->data + element->size};
    if (!next_element(&matrix->rest, &flags) || flags.size < 8) return false;
    if (!next_element(&matrix->rest, &dimensions) || dimensions.size % 4) return false;
    if (!next_element(&matrix->rest, &matrix->name)) return false;
    matrix->class = flags.data[0];
    matrix->count = 1;
    for (size_t i = 0; i < dimensions.size; i += 4)
        if (__builtin_mul_overflow(matrix->count, (size_t)get32(dimensions.data + i), &matrix->count)) return false;
    return true;
}

/* The first number of a numeric array. */
static bool read_number(const Element *element, double *number)
{
    Matrix matrix;
    Element data;
    if (!open_matrix(element, &matrix) || matrix.count < 1 || !next_element(&matrix.rest, &data)) return false;
    switch (data.type) {
    case MI_INT8:
    case MI_UINT8:
        *number = data.data[0];
        return data.size >= 1;
    case MI_INT16:
    case MI_UINT16:
        *number = data.data[0] | data.data[1] << 8;
        return data.size >= 2;
    case MI_INT32:
    case MI_UINT32:
        *number = get32(data.data);
        return data.size >= 4;
    case MI_DOUBLE:
        memcpy(number, data.data, data.size < 8 ? data.size : 8);
        return data.size >= 8;
    default:
        return false;
    }
}

/* A char array of any of its encodings; characters outside ASCII of the 16-bit ones become UTF-8. */
static bool read_text(const Element *element, char *text, size_t room)
{
    Matrix matrix;
    Element data;
    size_t used = 0;
    text[0] = 0;
    if (!open_matrix(element, &matrix) || matrix.class != CLASS_CHAR) return false;
    if (matrix.count == 0) return true;
    if (!next_element(&matrix.rest, &data)) return false;
    bool wide = data.type == MI_UINT16 || data.type == MI_UTF16;
    if (!wide && data.type != MI_INT8 && data.type != MI_UINT8 && data.type != MI_UTF8) return false;
    for (size_t i = 0; i + wide < data.size && used + 4 < room; i += 1 + wide) {
        unsigned c = data.data[i];
        if (wide) c |= (unsigned)data.data[i + 1] << 8;
        if (!wide || c < 0x80) {
            text[used++] = (char)c;
        } else if (c < 0x800) {
            text[used++] = (char)(0xc0 | c >> 6);
            text[used++] = (char)(0x80 | (c & 0x3f));
        } else {
            text[used++] = (char)(0xe0 | c >> 12);
            text[used++] = (char)(0x80 | (c >> 6 & 0x3f));
            text[used++] = (char)(0x80 | (c & 0x3f));
        }
    }
    text[used] = 0;
    return true;
}

static bool read_field(Synset *synset, const char *field, const Element *value)
{
    double number = 0;
    if (strcmp(field, "ILSVRC2012_ID") == 0) {
        if (!read_number(value, &number) || !(number >= 0 && number < SYNSET_LIMIT)) return false;
        synset->id = (int)number;
    } else if (strcmp(field, "num_children") == 0) {
        if (!read_number(value, &number) || !(number >= 0 && number < SYNSET_LIMIT)) return false;
        synset->children = (int)number;
    } else if (strcmp(field, "WNID") == 0) {
        return read_text(value, synset->wnid, sizeof synset->wnid) && synset->wnid[0];
    } else if (strcmp(field, "words") == 0) {
        return read_text(value, synset->words, sizeof synset->words);
    }
    return true;
}

static bool read_structs(Matrix *matrix, Synset **synsets, int *count)
{
    Element length, names, value;
    if (!next_element(&matrix->rest, &length) || length.size < 4 || !next_element(&matrix->rest, &names)) return false;
    size_t width = get32(length.data), fields = width ? names.size / width : 0;
    if (width < 2 || width > 64 || fields < 1 || fields > FIELD_LIMIT) return false;
    if (matrix->count < 1 || matrix->count > SYNSET_LIMIT) return false;
    /* Each value takes at least 8 bytes: so the array is not larger than the file makes plausible. */
    if (matrix->count > (size_t)(matrix->rest.end - matrix->rest.at) / 8) return false;
    *synsets = calloc(matrix->count, sizeof **synsets);
    if (!*synsets) return false;
    for (size_t i = 0; i < matrix->count; i++) {
        for (size_t field = 0; field < fields; field++) {
            char name[65] = "";
            memcpy(name, names.data + field * width, width);
            if (!next_element(&matrix->rest, &value) || !read_field(&(*synsets)[i], name, &value)) return false;
        }
        if (!(*synsets)[i].wnid[0]) return false;
    }
    *count = (int)matrix->count;
    return true;
}

/* The uncompressed element inside a compressed one; malloc'ed. NULL: damaged, too long, or no memory. */
static uint8_t *inflate_element(const Element *element, size_t *size)
{
    z_stream stream = {.next_in = (Bytef *)(uintptr_t)element->data, .avail_in = (uInt)element->size};
    uint8_t *bytes = NULL;
    size_t capacity = 0;
    int code = Z_OK;
    if (inflateInit(&stream) != Z_OK) return NULL;
    while (code == Z_OK && capacity < INFLATED_LIMIT) {
        capacity = 2 * capacity + 65536;
        uint8_t *grown = realloc(bytes, capacity);
        if (!grown) break;
        bytes = grown;
        stream.next_out = bytes + stream.total_out;
        stream.avail_out = (uInt)(capacity - stream.total_out);
        code = inflate(&stream, Z_NO_FLUSH);
        if (code == Z_BUF_ERROR && stream.avail_out == 0) code = Z_OK;
    }
    *size = stream.total_out;
    inflateEnd(&stream);
    if (code == Z_STREAM_END) return bytes;
    free(bytes);
    return NULL;
}

static bool read_variable(const Element *element, Synset **synsets, int *count)
{
    Matrix matrix;
    if (!open_matrix(element, &matrix) || matrix.class != CLASS_STRUCT) return false;
    if (matrix.name.size != 7 || memcmp(matrix.name.data, "synsets", 7) != 0) return false;
    return read_structs(&matrix, synsets, count);
}

static bool read_element(const Element *element, Synset **synsets, int *count)
{
    if (element->type != MI_COMPRESSED) return read_variable(element, synsets, count);
    size_t size;
    uint8_t *bytes = inflate_element(element, &size);
    if (!bytes) return false;
    Reader reader = {bytes, bytes + size};
    Element inner;
    bool good = next_element(&reader, &inner) && read_variable(&inner, synsets, count);
    free(bytes);
    return good;
}

Status matfile_synsets(const void *bytes, size_t size, const char *name, Synset **synsets, int *count, Error *error)
{
    enum { HEADER = 128 };
    const uint8_t *file = bytes;
    *synsets = NULL;
    *count = 0;
    if (size < HEADER || file[126] != 'I' || file[127] != 'M')
        return error_set(error, STATUS_DATA, "%s: not a little-endian level 5 MAT-file", name);
    Reader reader = {file + HEADER, file + size};
    Element element;
    while (next_element(&reader, &element)) {
        if (read_element(&element, synsets, count)) return STATUS_OK;
        free(*synsets);
        *synsets = NULL;
    }
    return error_set(error, STATUS_DATA, "%s: holds no readable table 'synsets'", name);
}
