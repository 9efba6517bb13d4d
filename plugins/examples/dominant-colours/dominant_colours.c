/*
 * example/dominant-colours: the most frequent colours of a picture, in C.
 *
 *     cc -O2 -shared -fPIC -fvisibility=hidden -I ../contract/include \
 *        -o libdominant_colours.so dominant_colours.c
 *
 * Pixels are counted in 512 cells of 3 bits a channel; a cell's colour is the mean of its pixels.
 */
#include <stdio.h>
#include <stdlib.h>

#include "omnizap_plugin.h"

#define CELLS 512
#define MOST 16
#define SIZED(type) .struct_size = sizeof(type)

static const oz_port IMAGE = {
    SIZED(oz_port), .type = OZ_IMAGE, .decimals = -1,
    .name = OZ_TEXT_LITERAL("image"), .doc = OZ_TEXT_LITERAL("the picture")};
static const oz_port COLOURS = {
    SIZED(oz_port), .type = OZ_JSON, .flags = OZ_PORT_PUBLISHED, .decimals = 4,
    .name = OZ_TEXT_LITERAL("dominant_colours"),
    .doc = OZ_TEXT_LITERAL("[{\"colour\": \"#rrggbb\", \"share\": 0..1}], the most frequent first"),
    .neutral_json = OZ_TEXT_LITERAL("[]")};
static const oz_port *const INPUTS[] = {&IMAGE};
static const oz_port *const OUTPUTS[] = {&COLOURS};
static const oz_stage_descriptor STAGE = {
    SIZED(oz_stage_descriptor), .flags = OZ_THREAD_SAFE | OZ_PURE,
    .id = OZ_TEXT_LITERAL("example/dominant-colours"),
    .doc = OZ_TEXT_LITERAL("the most frequent colours"),
    .options_json = OZ_TEXT_LITERAL(
        "{\"count\": {\"type\": \"integer\", \"min\": 1, \"max\": 16, \"default\": 3,"
        " \"doc\": \"how many colours\"}}"),
    .inputs = INPUTS, .input_count = 1, .outputs = OUTPUTS, .output_count = 1};
static const oz_stage_descriptor *const STAGES[] = {&STAGE};

typedef struct instance {
    oz_stage stage;
    const oz_host *host;
    int64_t count;
} instance;

typedef struct cell {
    uint64_t pixels, red, green, blue;
} cell;

static int32_t validate_config(void *self, const oz_option *options, size_t count,
                               oz_error *error) {
    (void)self, (void)options, (void)count, (void)error;
    return OZ_OK; /* the schema says it all */
}

static int32_t activate(void *self, const oz_option *options, size_t count, oz_error *error) {
    instance *own = self;
    (void)error;
    own->count = 3;
    for (size_t i = 0; i < count; i++) {
        if (oz_is(options[i].name, "count")) own->count = options[i].value.integer;
    }
    return OZ_OK;
}

static void count_pixels(const oz_value *image, cell *cells) {
    const oz_tensor *tensor = &image->tensor;
    int64_t height = tensor->shape[0], width = tensor->shape[1], samples = tensor->shape[2];
    int64_t row = tensor->strides != NULL ? tensor->strides[0] : width * samples;
    int64_t step = tensor->strides != NULL ? tensor->strides[1] : samples;
    const uint8_t *first = (const uint8_t *)tensor->data + tensor->byte_offset;
    for (int64_t y = 0; y < height; y++) {
        for (int64_t x = 0; x < width; x++) {
            const uint8_t *at = first + y * row + x * step;
            uint8_t red = at[0], green = samples > 1 ? at[1] : at[0], blue = samples > 1 ? at[2] : at[0];
            cell *of = &cells[(red >> 5) << 6 | (green >> 5) << 3 | blue >> 5];
            of->pixels++, of->red += red, of->green += green, of->blue += blue;
        }
    }
}

static int32_t run(void *self, oz_call *call) {
    const instance *own = self;
    const oz_value *image = &call->inputs[0];
    cell *cells = calloc(CELLS, sizeof(cell));
    if (cells == NULL) return oz_fail(call->error, OZ_NO_MEMORY, "no memory for the histogram");
    count_pixels(image, cells);
    double total = (double)image->tensor.shape[0] * (double)image->tensor.shape[1];
    char text[64 * (MOST + 1)];
    size_t len = 0;
    text[len++] = '[';
    for (int64_t i = 0; i < own->count && i < MOST; i++) {
        cell *best = &cells[0];
        for (size_t c = 1; c < CELLS; c++) {
            if (cells[c].pixels > best->pixels) best = &cells[c];
        }
        if (best->pixels == 0) break;
        int wrote = snprintf(text + len, sizeof text - len,
                             "%s{\"colour\":\"#%02x%02x%02x\",\"share\":%.6f}", i == 0 ? "" : ",",
                             (unsigned)(best->red / best->pixels),
                             (unsigned)(best->green / best->pixels),
                             (unsigned)(best->blue / best->pixels), (double)best->pixels / total);
        if (wrote < 0 || (size_t)wrote >= sizeof text - len - 1) break;
        len += (size_t)wrote;
        best->pixels = 0;
    }
    text[len++] = ']';
    free(cells);
    oz_value value = {.type = OZ_JSON, .bytes = {(const uint8_t *)text, len}};
    return own->host->put_output(call, 0, &value, NULL, NULL);
}

static void deactivate(void *self) { (void)self; }
static void destroy(oz_stage *stage) { free(stage->instance); }

static int32_t create(const oz_host *host, oz_span id, oz_stage **stage, oz_error *error) {
    if (!oz_is(id, "example/dominant-colours")) {
        return oz_fail(error, OZ_INTERNAL, "the plugin has no such stage");
    }
    instance *own = calloc(1, sizeof *own);
    if (own == NULL) return oz_fail(error, OZ_NO_MEMORY, "no memory for an instance");
    own->host = host;
    own->stage = (oz_stage){SIZED(oz_stage), .instance = own, .validate_config = validate_config,
                            .activate = activate, .run = run, .deactivate = deactivate,
                            .destroy = destroy};
    *stage = &own->stage;
    return OZ_OK;
}

static const oz_stage_factory FACTORY = {SIZED(oz_stage_factory), .create = create};

static const void *get_factory(oz_span id) {
    return oz_is(id, OZ_STAGE_FACTORY) ? &FACTORY : NULL;
}

OZ_EXPORT const oz_entry omnizap_plugin_entry = {
    .magic = OZ_MAGIC, SIZED(oz_entry), .abi_major = OZ_ABI_MAJOR, .abi_minor = OZ_ABI_MINOR,
    .name = OZ_TEXT_LITERAL("example-dominant-colours"), .version = OZ_TEXT_LITERAL("0.1.0"),
    .build = OZ_TEXT_LITERAL("C, omnizap_plugin.h 1.0"), .stages = STAGES, .stage_count = 1,
    .get_factory = get_factory};
