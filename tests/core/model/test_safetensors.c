#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/half.h"
#include "core/model/safetensors.h"
#include "tests/support/command.h"

static char path[4096];

static const char *in_folder(const char *name)
{
    snprintf(path, sizeof path, "%s/%s", temporary_folder(), name);
    return path;
}

/* ---- a file as the format says, or not quite */

static void write_raw(uint64_t claimed_length, const char *header, size_t data_size)
{
    size_t length = strlen(header), size = 8 + length + data_size;
    char *bytes = calloc(1, size);
    Error error = {0};
    memcpy(bytes, &claimed_length, 8);
    memcpy(bytes + 8, header, length);
    cr_assert_eq(file_write(in_folder("raw.safetensors"), bytes, size, &error), STATUS_OK, "%s", error.message);
    free(bytes);
}

static void expect_refused(const char *part)
{
    Safetensors file;
    Error error = {0};
    cr_assert_eq(safetensors_open(&file, path, &error), STATUS_DATA, "should be refused: %s", part);
    cr_assert(strstr(error.message, part), "'%s' lacks '%s'", error.message, part);
    cr_assert(strstr(error.message, path), "'%s' does not name the file", error.message);
    cr_assert_eq(file.entries, NULL, "a failed open leaves nothing to close");
    safetensors_close(&file);
}

static void refuse(const char *header, size_t data_size, const char *part)
{
    write_raw(strlen(header), header, data_size);
    expect_refused(part);
}

static const char GOOD[] = "{\"a\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[0,8]},"
                           "\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[8,11]}}  ";

Test(safetensors, accepts_what_the_format_allows)
{
    write_raw(strlen(GOOD), GOOD, 11);
    Safetensors file;
    Error error = {0};
    cr_assert_eq(safetensors_open(&file, path, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(file.count, 2);
    cr_assert_eq(safetensors_find(&file, "b")->end, 11);
    cr_assert_eq(safetensors_find(&file, "c"), NULL);
    safetensors_close(&file);
    /* Not in the order of the data, empty, without dimensions. */
    const char *odd = "{\"b\":{\"data_offsets\":[4,4],\"dtype\":\"F64\",\"shape\":[0,7]},"
                      "\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}";
    write_raw(strlen(odd), odd, 4);
    cr_assert_eq(safetensors_open(&file, path, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(safetensors_find(&file, "b")->numel, 0);
    cr_assert_eq(safetensors_find(&file, "a")->numel, 1);
    safetensors_close(&file);
    write_raw(2, "{}", 0);
    cr_assert_eq(safetensors_open(&file, path, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(file.count, 0);
    safetensors_close(&file);
}

Test(safetensors, refuses_lengths_that_lie)
{
    write_raw((uint64_t)1 << 63, GOOD, 11);
    expect_refused("claims 9223372036854775808 bytes");
    write_raw(UINT64_MAX, GOOD, 11);
    expect_refused("claims 18446744073709551615 bytes");
    write_raw(strlen(GOOD) + 12, GOOD, 11);
    expect_refused("claims");
    write_raw(strlen(GOOD) - 12, GOOD, 11);
    expect_refused("not valid JSON");
    Error error = {0};
    cr_assert_eq(file_write(path, "1234567", 7, &error), STATUS_OK);
    expect_refused("too few");
    cr_assert_eq(file_write(path, "", 0, &error), STATUS_OK);
    expect_refused("too few");
}

Test(safetensors, refuses_a_header_beyond_the_limit)
{
    enum { LENGTH = (16 << 20) + 1 };
    char *header = malloc(LENGTH + 1);
    memset(header, ' ', LENGTH);
    header[0] = '{', header[1] = '}', header[LENGTH] = 0;
    write_raw(LENGTH, header, 0);
    expect_refused("at most 16777216");
    free(header);
}

Test(safetensors, refuses_truncation_and_excess)
{
    refuse(GOOD, 10, "tensor b ends at byte 11 of the data, but the file holds 10");
    refuse(GOOD, 0, "truncated");
    refuse(GOOD, 12, "1 bytes follow the last tensor");
}

Test(safetensors, refuses_overlaps_and_gaps)
{
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
           "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}",
           12, "tensors a and b overlap at byte 4");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
           "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
           8, "overlap");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
           "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]}}",
           12, "bytes 4 to 8 of the data belong to no tensor");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "bytes 0 to 4");
}

Test(safetensors, refuses_shapes_that_lie)
{
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8, "3 elements of 4 bytes");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8, "dimension 0");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,8]}}", 8, "dimension 0");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}}", 8, "not an array");
    refuse("{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}", 1, "at most 8");
    /* 2^32 x 2^32 = 2^64, which wraps to nothing; 2^62 x 4 bytes likewise. */
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0, "overflows");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", 0, "elements of 4");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,0]}}", 0, "JSON");
}

Test(safetensors, refuses_offsets_that_lie)
{
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, "begin <= end");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 4, "begin <= end");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, "begin <= end");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 4, "begin <= end");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[\"0\",\"4\"]}}", 4, "begin <= end");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[9223372036854775803,9223372036854775807]}}", 4,
           "truncated");
}

Test(safetensors, refuses_headers_that_are_not_tables_of_tensors)
{
    refuse("[]", 0, "not a JSON object");
    refuse("{\"a\":[]}", 0, "not {dtype, shape, data_offsets}");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "not {dtype, shape, data_offsets}");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", 4, "not {dtype, shape");
    refuse("{\"a\":{\"dtype\":\"F9\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "has type F9");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
           "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
           8, "duplicate");
    refuse("{\"a\":{\"dtype\":\"F32\",\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4, "duplicate");
    refuse("{\"__metadata__\":[]}", 0, "__metadata__");
    refuse("{\"__metadata__\":{\"a\":1}}", 0, "__metadata__: a is not a string");
    refuse("{\"a\\u0000b\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, "JSON");
    refuse("{\"\xff\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, "JSON");
    refuse("{\"\\u001b[2J\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, "control characters");
    refuse("{} x", 0, "JSON");
    char deep[10001];
    memset(deep, '[', 10000);
    deep[10000] = 0;
    refuse(deep, 0, "JSON");
}

Test(safetensors, refuses_what_is_not_a_file)
{
    Safetensors file;
    Error error = {0};
    cr_assert_eq(safetensors_open(&file, in_folder("none"), &error), STATUS_DATA);
    cr_assert(strstr(error.message, "cannot open"), "%s", error.message);
    error = (Error){0};
    cr_assert_eq(safetensors_open(&file, temporary_folder(), &error), STATUS_DATA);
    cr_assert(strstr(error.message, "not a regular file"), "%s", error.message);
}

Test(safetensors, data_that_vanishes_after_the_open_is_an_error)
{
    write_raw(strlen(GOOD), GOOD, 11);
    Safetensors file;
    Error error = {0};
    float two[2];
    cr_assert_eq(safetensors_open(&file, path, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(truncate(path, (off_t)strlen(GOOD) + 10), 0);
    cr_assert_eq(safetensors_read(&file, safetensors_find(&file, "a"), two, &error), STATUS_DATA);
    cr_assert(strstr(error.message, "the file ends there"), "%s", error.message);
    safetensors_close(&file);
}

/* ---- writing, and back */

Test(safetensors, round_trip_of_every_type)
{
    const float f32[] = {1.5f, -2, 3e-40f, 0, -0.0f, 7};
    const double f64[] = {1e300, -0.1};
    const int64_t i64[] = {INT64_MIN, 5};
    const uint16_t f16[] = {0x3C00, 0xC000, 1};
    const uint8_t u8[] = {1, 255, 0};
    const char *const metadata[] = {"format", "pt", "note", "Gr\xc3\xbc\xc3\x9f \"quoted\"", NULL};
    const SafetensorsTensor tensors[] = {
        {"bytes", DTYPE_U8, 1, {3}, u8},        {"half", DTYPE_F16, 1, {3}, f16},
        {"float", DTYPE_F32, 2, {2, 3}, f32},   {"double", DTYPE_F64, 1, {2}, f64},
        {"int", DTYPE_I64, 2, {2, 1}, i64},     {"flags", DTYPE_BOOL, 1, {1}, u8},
        {"scalar", DTYPE_F32, 0, {0}, f32 + 5}, {"empty", DTYPE_F32, 2, {0, 4}, f32},
        {"bf", DTYPE_BF16, 3, {1, 1, 3}, f16},  {"i32", DTYPE_I32, 1, {1}, f32},
    };
    enum { COUNT = sizeof tensors / sizeof tensors[0] };
    Error error = {0};
    cr_assert_eq(safetensors_write(in_folder("a.safetensors"), tensors, COUNT, metadata, &error), STATUS_OK, "%s",
                 error.message);
    Safetensors file;
    cr_assert_eq(safetensors_open(&file, path, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(file.count, COUNT);
    cr_assert_eq(file.data_start % 8, 0);
    cr_assert_str_eq(safetensors_metadata(&file, "note"), metadata[3]);
    cr_assert_eq(safetensors_metadata(&file, "nothing"), NULL);
    for (int i = 0; i < COUNT; i++) {
        const SafetensorsEntry *entry = safetensors_find(&file, tensors[i].name);
        char bytes[64];
        cr_assert(entry, "%s", tensors[i].name);
        cr_assert_eq(entry->dtype, tensors[i].dtype);
        cr_assert_eq(entry->ndim, tensors[i].ndim);
        cr_assert_eq(entry->begin % dtype_size(entry->dtype), 0, "%s is not aligned", tensors[i].name);
        for (int d = 0; d < entry->ndim; d++) cr_assert_eq(entry->shape[d], tensors[i].shape[d]);
        cr_assert_eq(safetensors_read(&file, entry, bytes, &error), STATUS_OK);
        cr_assert_eq(memcmp(bytes, tensors[i].data, entry->end - entry->begin), 0, "%s", tensors[i].name);
    }
    safetensors_close(&file);
}

Test(safetensors, floats_of_any_width_are_read_as_float)
{
    enum { COUNT = 10000 }; /* more than one buffer of the conversion */
    uint16_t *half = malloc(COUNT * 2);
    double *wide = malloc(COUNT * 8);
    float *read = malloc(COUNT * 4);
    for (int i = 0; i < COUNT; i++) {
        half[i] = (uint16_t)(0x3C00 + i % 1024); /* 1 + i/1024; as bfloat16 0.0078 ... */
        wide[i] = i / 3.0;
    }
    const SafetensorsTensor tensors[] = {{"half", DTYPE_F16, 1, {COUNT}, half},
                                         {"brain", DTYPE_BF16, 1, {COUNT}, half},
                                         {"double", DTYPE_F64, 1, {COUNT}, wide},
                                         {"int", DTYPE_I64, 1, {COUNT}, wide}};
    Error error = {0};
    cr_assert_eq(safetensors_write(in_folder("wide.safetensors"), tensors, 4, NULL, &error), STATUS_OK);
    Safetensors file;
    cr_assert_eq(safetensors_open(&file, path, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(safetensors_read_f32(&file, safetensors_find(&file, "half"), read, &error), STATUS_OK);
    for (int i = 0; i < COUNT; i++) cr_assert_eq(read[i], 1 + (float)(i % 1024) / 1024);
    cr_assert_eq(safetensors_read_f32(&file, safetensors_find(&file, "double"), read, &error), STATUS_OK);
    for (int i = 0; i < COUNT; i++) cr_assert_eq(read[i], (float)wide[i]);
    cr_assert_eq(safetensors_read_f32(&file, safetensors_find(&file, "brain"), read, &error), STATUS_OK);
    for (int i = 0; i < COUNT; i++) {
        uint32_t bits;
        memcpy(&bits, &read[i], 4);
        cr_assert_eq(bits, (uint32_t)half[i] << 16);
    }
    cr_assert_eq(safetensors_read_f32(&file, safetensors_find(&file, "int"), read, &error), STATUS_DATA);
    cr_assert(strstr(error.message, "tensor int has type I64"), "%s", error.message);
    safetensors_close(&file);
    free(half), free(wide), free(read);
}

Test(safetensors, every_half_is_its_value)
{
    for (uint32_t bits = 0; bits < 65536; bits++) {
        int exponent = (int)(bits >> 10 & 31), mantissa = (int)(bits & 1023);
        double value = exponent == 31 ? (mantissa ? (double)NAN : (double)INFINITY)
                       : exponent     ? ldexp(1024 + mantissa, exponent - 25)
                                      : ldexp(mantissa, -24);
        float read = half_to_float((uint16_t)bits);
        if (isnan(value))
            cr_assert(isnan(read));
        else
            cr_assert(read == (bits & 0x8000 ? -value : value) && !signbit(read) == !(bits & 0x8000), "%x", bits);
    }
}

Test(safetensors, the_writer_refuses_names_it_could_not_read_back)
{
    const float one = 1;
    const SafetensorsTensor twice[] = {{"a", DTYPE_F32, 1, {1}, &one}, {"a", DTYPE_F32, 1, {1}, &one}};
    const SafetensorsTensor reserved[] = {{"__metadata__", DTYPE_F32, 1, {1}, &one}};
    const SafetensorsTensor broken[] = {{"\xff", DTYPE_F32, 1, {1}, &one}};
    Error error = {0};
    cr_assert_eq(safetensors_write(in_folder("x"), twice, 2, NULL, &error), STATUS_FAILED);
    cr_assert(strstr(error.message, "two tensors are named a"), "%s", error.message);
    error = (Error){0};
    cr_assert_eq(safetensors_write(path, reserved, 1, NULL, &error), STATUS_FAILED);
    error = (Error){0};
    cr_assert_eq(safetensors_write(path, broken, 1, NULL, &error), STATUS_FAILED);
    cr_assert(!file_exists(path));
}
