/* jpeg.c: libjpeg-turbo behind image.h. */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

#include "core/base/memory.h"
#include "data/image/codec.h"

/* A progressive file may hold any number of scans over the whole image, each costing as much as a decode. Encoders
 * write about ten. */
enum { MAX_SCANS = 200 };

typedef struct Trap {
    struct jpeg_error_mgr manager; /* first: libjpeg hands back a pointer to it */
    jmp_buf jump;
    char message[JMSG_LENGTH_MAX];
} Trap;

static void trap_error(j_common_ptr codec)
{
    Trap *trap = (Trap *)codec->err;
    codec->err->format_message(codec, trap->message);
    longjmp(trap->jump, 1);
}

static void trap_warning(j_common_ptr codec, int level)
{
    Trap *trap = (Trap *)codec->err;
    if (level >= 0) return;
    /* libjpeg would go on and fill the rest with gray. Other warnings it repairs as Pillow lets it. */
    if (trap->manager.msg_code == JWRN_JPEG_EOF) {
        strcpy(trap->message, "the data end before the image does");
        longjmp(trap->jump, 1);
    }
}

static void trap_print(j_common_ptr codec)
{
    (void)codec;
}

static struct jpeg_error_mgr *trap_set(Trap *trap)
{
    jpeg_std_error(&trap->manager);
    trap->manager.error_exit = trap_error;
    trap->manager.emit_message = trap_warning;
    trap->manager.output_message = trap_print;
    return &trap->manager;
}

static void limit_scans(j_common_ptr codec)
{
    if (codec->is_decompressor && ((j_decompress_ptr)codec)->input_scan_number > MAX_SCANS) {
        Trap *trap = (Trap *)codec->err;
        snprintf(trap->message, sizeof trap->message, "more than %d scans", MAX_SCANS);
        longjmp(trap->jump, 1);
    }
}

/* ---- decode */

typedef struct Decoder {
    struct jpeg_decompress_struct codec;
    struct jpeg_progress_mgr progress;
    Trap trap;
    ImageBox rows; /* what is read: columns aligned as libjpeg wants them */
} Decoder;

/* Pillow's conversion (its Convert.c): samples are stored inverted, K scales what C, M and Y leave. */
static uint8_t mul_div_255(unsigned a, unsigned b)
{
    unsigned t = a * b + 128;
    return (uint8_t)(((t >> 8) + t) >> 8);
}

/* In place: rgb may be cmyk, since no byte is written before the last use of those behind it. */
static void cmyk_to_rgb(const uint8_t *cmyk, int width, uint8_t *rgb)
{
    for (int x = 0; x < width; x++)
        for (int c = 0; c < 3; c++) {
            unsigned light = cmyk[4 * x + 3];
            rgb[3 * x + c] = (uint8_t)(light - mul_div_255(255u - cmyk[4 * x + c], light));
        }
}

static Status start(Decoder *decoder, int reduction, Error *error)
{
    struct jpeg_decompress_struct *codec = &decoder->codec;
    jpeg_read_header(codec, TRUE);
    Status status = image_check_size(codec->image_width, codec->image_height, error);
    if (status) return status;
    if (codec->num_components == 2 || codec->num_components > 4)
        return error_set(error, STATUS_DATA, "a JPEG of %d components; 1, 3 and 4 can be read", codec->num_components);
    codec->out_color_space = codec->num_components == 4 ? JCS_CMYK : JCS_RGB;
    codec->scale_num = 1;
    codec->scale_denom = (unsigned)reduction;
    jpeg_start_decompress(codec);
    return STATUS_OK;
}

static int divide_up(int value, int step)
{
    return (value + step - 1) / step;
}

/* The box in pixels of the reduced image, rounded outwards. */
static ImageBox reduce_box(const ImageBox *box, int reduction, int width, int height)
{
    int right = divide_up(box->left + box->width, reduction), bottom = divide_up(box->top + box->height, reduction);
    ImageBox reduced = {.left = box->left / reduction, .top = box->top / reduction};
    reduced.width = (right < width ? right : width) - reduced.left;
    reduced.height = (bottom < height ? bottom : height) - reduced.top;
    return reduced;
}

/* Tells libjpeg to leave out columns and rows outside `box`. Smooth chroma upsampling looks at neighbours, which at a
 * cut are not decoded; so more is read than asked: MARGIN pixels on each side. */
static void skip_outside(Decoder *decoder, ImageBox box)
{
    enum { MARGIN = 4 };
    struct jpeg_decompress_struct *codec = &decoder->codec;
    int width = (int)codec->output_width;
    JDIMENSION left = box.left > MARGIN ? (JDIMENSION)(box.left - MARGIN) : 0;
    JDIMENSION right = (JDIMENSION)(box.left + box.width < width - MARGIN ? box.left + box.width + MARGIN : width);
    JDIMENSION columns = right - left;
    if (columns < codec->output_width) jpeg_crop_scanline(codec, &left, &columns);
    decoder->rows.left = (int)left;
    decoder->rows.width = (int)columns;
    decoder->rows.top = box.top > MARGIN ? box.top - MARGIN : 0;
    if (decoder->rows.top > 0) jpeg_skip_scanlines(codec, (JDIMENSION)decoder->rows.top);
}

static void read_lines(struct jpeg_decompress_struct *codec, JSAMPARRAY lines, int count)
{
    for (int done = 0; done < count;) done += (int)jpeg_read_scanlines(codec, lines + done, (JDIMENSION)(count - done));
}

/* A few lines at a time, so that what takes them finds them in the nearest cache. libjpeg-turbo writes aligned lines
 * past the caches, straight to memory; hence the odd START. */
static void stream(Decoder *decoder, ImageBox box, const ImageSink *sink)
{
    enum { START = 8 };
    struct jpeg_decompress_struct *codec = &decoder->codec;
    const size_t samples = (size_t)codec->output_components, left = (size_t)(box.left - decoder->rows.left);
    const JDIMENSION width = (JDIMENSION)((size_t)decoder->rows.width * samples + START);
    JSAMPARRAY lines = codec->mem->alloc_sarray((j_common_ptr)codec, JPOOL_IMAGE, width, IMAGE_STRIP);
    const bool direct = sink->place && samples == 3 && decoder->rows.width == box.width;
    uint8_t *rows[IMAGE_STRIP];
    for (int i = 0; i < IMAGE_STRIP; i++) {
        lines[i] += START;
        rows[i] = lines[i] + left * samples;
    }
    for (int y = decoder->rows.top; y < box.top; y++) read_lines(codec, lines, 1);
    for (int y = 0; y < box.height; y += IMAGE_STRIP) {
        int count = box.height - y < IMAGE_STRIP ? box.height - y : IMAGE_STRIP;
        for (int i = 0; i < count && direct; i++) lines[i] = sink->place(sink->context);
        read_lines(codec, lines, count);
        if (direct) continue;
        for (int i = 0; i < count && samples == 4; i++) cmyk_to_rgb(rows[i], box.width, rows[i]);
        sink->take(sink->context, (const uint8_t *const *)rows, count);
    }
}

static Status decode(Decoder *decoder, const ImageBox *box, int reduction, const ImageSink *sink, Error *error)
{
    struct jpeg_decompress_struct *codec = &decoder->codec;
    Status status = start(decoder, reduction, error);
    if (status) return status;
    ImageBox whole = {0, 0, (int)codec->output_width, (int)codec->output_height};
    ImageBox wanted = box ? reduce_box(box, reduction, whole.width, whole.height) : whole;
    status = sink->begin(sink->context, wanted, reduction, error);
    if (status) return status;
    decoder->rows = whole;
    if (box) skip_outside(decoder, wanted);
    stream(decoder, wanted, sink);
    /* Wants the end-of-image marker, as Pillow does. */
    if (codec->output_scanline == codec->output_height) jpeg_finish_decompress(codec);
    return STATUS_OK;
}

Status jpeg_stream(const uint8_t *bytes, size_t size, const ImageBox *box, int reduction, const ImageSink *sink,
                   Error *error)
{
    if (reduction != 1 && reduction != 2 && reduction != 4 && reduction != 8)
        return error_set(error, STATUS_FAILED, "an image cannot be decoded reduced by %d; 1, 2, 4 and 8 can be had",
                         reduction);
    Decoder decoder;
    Status status;
    decoder.codec.err = trap_set(&decoder.trap);
    if (setjmp(decoder.trap.jump)) {
        status = error_set(error, STATUS_DATA, "broken JPEG: %s", decoder.trap.message);
    } else {
        jpeg_create_decompress(&decoder.codec);
        decoder.progress = (struct jpeg_progress_mgr){.progress_monitor = limit_scans};
        decoder.codec.progress = &decoder.progress;
        jpeg_mem_src(&decoder.codec, bytes, size);
        status = decode(&decoder, box, reduction, sink, error);
    }
    jpeg_destroy_decompress(&decoder.codec);
    return status;
}

/* ---- encode */

typedef struct Encoder {
    struct jpeg_compress_struct codec;
    Trap trap;
    unsigned char *bytes;
    unsigned long size;
    uint8_t *line; /* gray only: one row */
} Encoder;

static void encode(Encoder *encoder, const Image *image, int quality, int gray)
{
    struct jpeg_compress_struct *codec = &encoder->codec;
    codec->image_width = (JDIMENSION)image->width;
    codec->image_height = (JDIMENSION)image->height;
    codec->input_components = gray ? 1 : 3;
    codec->in_color_space = gray ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_set_defaults(codec);
    jpeg_set_quality(codec, quality, TRUE);
    if (!gray && quality >= 90) codec->comp_info[0].h_samp_factor = codec->comp_info[0].v_samp_factor = 1;
    jpeg_start_compress(codec, TRUE);
    for (int y = 0; y < image->height; y++) {
        uint8_t *row = image->pixels + (size_t)y * (size_t)image->width * 3;
        if (gray) {
            for (int x = 0; x < image->width; x++) encoder->line[x] = row[3 * x];
            row = encoder->line;
        }
        jpeg_write_scanlines(codec, &row, 1);
    }
    jpeg_finish_compress(codec);
}

Status image_encode_jpeg(const Image *image, int quality, int gray, unsigned char **bytes, size_t *size, Error *error)
{
    if (image->width > JPEG_MAX_DIMENSION || image->height > JPEG_MAX_DIMENSION)
        return error_set(error, STATUS_DATA, "%d x %d pixels are too many for a JPEG", image->width, image->height);
    Encoder encoder = {.line = memory_alloc(gray ? image->width : 0, 1, "a row of pixels", error)};
    if (!encoder.line) return STATUS_FAILED;
    Status status = STATUS_OK;
    encoder.codec.err = trap_set(&encoder.trap);
    if (setjmp(encoder.trap.jump)) {
        status = error_set(error, STATUS_FAILED, "cannot encode a JPEG: %s", encoder.trap.message);
    } else {
        jpeg_create_compress(&encoder.codec);
        jpeg_mem_dest(&encoder.codec, &encoder.bytes, &encoder.size);
        encode(&encoder, image, quality, gray);
    }
    jpeg_destroy_compress(&encoder.codec);
    free(encoder.line);
    if (status) {
        free(encoder.bytes);
        return status;
    }
    *bytes = encoder.bytes;
    *size = encoder.size;
    return STATUS_OK;
}
