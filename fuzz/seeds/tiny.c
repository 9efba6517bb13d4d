/* The seed library/tiny: every kind of descriptor in as few bytes as will do. It is read, never run.
     cc -Os -shared -fPIC -nostdlib -fvisibility=hidden -fno-asynchronous-unwind-tables -s \
       -Wl,-z,noseparate-code,-z,norelro,-z,max-page-size=64,--hash-style=sysv,--build-id=none \
       -I plugins/contract/include -o fuzz/seeds/library/tiny fuzz/seeds/tiny.c */
#include "omnizap_plugin.h"

#define SIZED(type) .struct_size = sizeof(type)

static const int64_t SHAPE[] = {-1, 3};
static const oz_port IMAGE = {SIZED(oz_port), .type = OZ_IMAGE, .decimals = -1,
                              .name = OZ_TEXT_LITERAL("image"), .doc = OZ_TEXT_LITERAL("a picture")};
static const oz_port THEME = {SIZED(oz_port), .type = OZ_TEXT, .decimals = -1,
                              .flags = OZ_PORT_OPTIONAL, .name = OZ_TEXT_LITERAL("theme"),
                              .default_json = OZ_TEXT_LITERAL("\"cats\"")};
static const oz_port GRID = {SIZED(oz_port), .type = OZ_TENSOR, .decimals = -1,
                             .name = OZ_TEXT_LITERAL("grid"), .shape = SHAPE, .ndim = 2};
static const oz_port SHARE = {SIZED(oz_port), .type = OZ_NUMBER, .decimals = 4,
                              .flags = OZ_PORT_PUBLISHED, .name = OZ_TEXT_LITERAL("share"),
                              .field = OZ_TEXT_LITERAL("part"), .neutral_json = OZ_TEXT_LITERAL("0.5")};
static const oz_port *const INPUTS[] = {&IMAGE, &THEME};
static const oz_port *const OUTPUTS[] = {&GRID, &SHARE};
static const oz_stage_descriptor STAGE = {
    SIZED(oz_stage_descriptor), .flags = OZ_THREAD_SAFE, .id = OZ_TEXT_LITERAL("a/b"),
    .doc = OZ_TEXT_LITERAL("doc"),
    .options_json = OZ_TEXT_LITERAL(
        "{\"k\":{\"type\":\"integer\",\"min\":1,\"max\":9,\"default\":2},"
        "\"c\":{\"type\":\"choice\",\"choices\":[\"x\",\"y\"]},\"l\":{\"type\":\"text_list\"}}"),
    .inputs = INPUTS, .input_count = 2, .outputs = OUTPUTS, .output_count = 2};
static const oz_stage_descriptor *const STAGES[] = {&STAGE};
static const void *get_factory(oz_span id) { return id.data; }
OZ_EXPORT const oz_entry omnizap_plugin_entry = {
    .magic = OZ_MAGIC, SIZED(oz_entry), .abi_major = OZ_ABI_MAJOR, .abi_minor = OZ_ABI_MINOR,
    .name = OZ_TEXT_LITERAL("tiny"), .version = OZ_TEXT_LITERAL("1"), .stages = STAGES,
    .stage_count = 1, .get_factory = get_factory};
