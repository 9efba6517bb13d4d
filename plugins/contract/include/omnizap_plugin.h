/*
 * omnizap_plugin.h - the plugin interface of OmniZap Classifier, ABI 1.0
 *
 * A plugin is a shared library that exports one constant, `omnizap_plugin_entry`. This header is
 * the whole interface and the one text that explains it: the Rust declarations
 * (plugins/contract/src/abi.rs) include it as their documentation, and a test compares every size
 * and offset.
 *
 * Rules that hold everywhere
 *
 *   Growth     Structs that begin with `struct_size` only ever grow at their end, within one major
 *              version. Set it to sizeof; read a field only where struct_size covers it. The types
 *              that travel in arrays by value (oz_span, oz_tensor, oz_score, oz_value, oz_option)
 *              have no size field and are frozen for this major version.
 *   Constants  `omnizap_plugin_entry` and all that it points to, except functions, is constant data
 *              of the file (in C: static const). The host reads it out of the file before it runs
 *              any code of the plugin, so `omnizap plugins inspect` runs none at all.
 *   Ownership  Inputs, options and strings are borrowed until the function returns; copy what you
 *              keep. What a function gives stays its maker's, who has a function to free it.
 *   Threads    Each function says which. "One at a time" means: any thread, never two at once for
 *              the same instance, with a happens-before between one call and the next.
 *   Strings    UTF-8 with a length, never NUL-terminated by promise.
 *   Failure    A function that can fail returns a status: OZ_OK, or one of OZ_INVALID.. with a
 *              message in the host's oz_error. No exception, panic or longjmp may leave the plugin,
 *              and it must not end the process.
 *   Purity     The library holds no state that instances share, except constants and caches.
 *              Everything that an instance needs arrives as an argument.
 *
 * Life of a library:  init -> get_factory -> create ... destroy -> deinit. It is never unloaded.
 * Life of an instance: create -> validate_config* -> activate -> (run | run_batch)* -> deactivate
 *                      -> destroy. validate_config may also follow on an instance that is never
 *                      activated; deactivate and destroy end every activate and create.
 *
 * Where and when this host calls a stage
 *
 *   At the start and at a reload of the pipelines: create, validate_config and destroy, to check a
 *   file; then create and activate for each use of the stage in a pipeline.
 *   For a request, by what the stage declares:
 *     neither of the next two   run, on one of the threads for computing: as many calls at a time
 *                       as there are cores, over all stages.
 *     OZ_BLOCKING       run, on a thread that may wait; at most 32 calls of the stage at a time.
 *     OZ_BATCHABLE      run_batch with what waits, on a thread of this use of the stage: one batch
 *                       at a time, OZ_BLOCKING or not. Where only one call waits: run.
 *   Without OZ_THREAD_SAFE the same holds, with an instance for each call or batch under way.
 *   A call whose client has gone or whose time is over is dropped where it has not begun, and one
 *   under way learns it from `omnizap.cancel/1`. After a fault: deactivate and destroy as soon as
 *   no call uses the instance, create and activate for the next call.
 *   Another host may use other threads and numbers: rely on what each function promises.
 *
 * What serves hosts to come, with the same library file
 *
 *   A child process with shared memory: no callback of the host is needed between calls, no
 *   pointer of one call is valid in the next, data are flat views (a pointer, a shape, strides) that
 *   may lie in any mapping, and outputs can be written straight into memory of the host (allocate).
 *   run_batch carries many calls over one crossing, its calls fail each by a status of its own, and
 *   is_cancelled reads a word that may lie in the mapping. Lines and numbers (log, metrics) go one
 *   way, so they can be gathered until the call returns.
 *   WebAssembly: no thread, no file, no symbol of the host is needed to link; everything of the
 *   host is reached through the table given to init and create; sizes are size_t and pointers
 *   pointers, so the same source compiled for wasm32 has the layout of that target; descriptors
 *   are readable without running anything. A host that meters the code may also end a call that
 *   never asks is_cancelled.
 */
#ifndef OMNIZAP_PLUGIN_H
#define OMNIZAP_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define OZ_ABI_MAJOR 1u /* another one is another interface: refused */
#define OZ_ABI_MINOR 0u /* counts what was added since OZ_ABI_MAJOR.0 */
#define OZ_MAGIC UINT64_C(0x0150415a494e4d4f) /* the bytes "OMNIZAP" and 1 in a little-endian file */

/* --- Statuses: int32_t, 0 or negative ---------------------------------------------------------- */

#define OZ_OK 0
#define OZ_INVALID (-1)     /* what the client sent is wrong: HTTP 422; the message goes to the client */
#define OZ_UNAVAILABLE (-2) /* something that the stage needs is away, may pass later: 503; message too */
#define OZ_BUSY (-3)        /* too much at a time, may pass later: 429; message too */
#define OZ_DEADLINE (-4)    /* gave up because the call is cancelled or out of time: 504 */
#define OZ_CONFIG (-5)      /* an option is wrong: validate_config and activate only */
#define OZ_UNSUPPORTED (-6) /* the host lacks what the stage needs */
#define OZ_REFUSED (-7)     /* the host refused an output; pass it on */
#define OZ_INTERNAL (-8)    /* a fault of the plugin: 500; the message goes to the log only */
#define OZ_PANIC (-9)       /* a panic or exception was caught inside the plugin: as OZ_INTERNAL */
#define OZ_NO_MEMORY (-10)  /* as OZ_INTERNAL */
/* After OZ_INTERNAL or lower the host destroys the instance and makes a new one. */

/* --- Frozen types ------------------------------------------------------------------------------- */

/* Bytes or UTF-8. data may be NULL where len is 0. */
typedef struct oz_span {
    const uint8_t *data;
    size_t len;
} oz_span;

/* Layout and meaning of DLPack's DLTensor (https://dmlc.github.io/dlpack/latest/c_api.html). */
typedef struct oz_tensor {
    void *data;          /* of inputs: read only */
    int32_t device_type; /* 1: memory of the CPU. Nothing else in this version. */
    int32_t device_id;   /* 0 */
    int32_t ndim;        /* 0..8 */
    uint8_t dtype_code;  /* 0 signed, 1 unsigned, 2 IEEE float */
    uint8_t dtype_bits;  /* with the code: i64, u8 or f32 */
    uint16_t dtype_lanes; /* 1 */
    const int64_t *shape; /* ndim lengths, in elements, each at least 0 */
    const int64_t *strides; /* ndim steps, in elements; NULL: row-major without gaps */
    uint64_t byte_offset; /* from data to the first element */
} oz_tensor;

#define OZ_DEVICE_CPU 1
#define OZ_DTYPE_INT 0u
#define OZ_DTYPE_UINT 1u
#define OZ_DTYPE_FLOAT 2u

/* What one label got. */
typedef struct oz_score {
    oz_span label;
    double logit;       /* scaled cosine before the softmax */
    double probability; /* share of 1 among the labels of the list */
} oz_score;

/* Types of ports and values. */
#define OZ_ABSENT 0u    /* an optional input that nothing feeds; an option that is not set */
#define OZ_BYTES 1u     /* bytes */
#define OZ_IMAGE 2u     /* tensor: u8 [height, width, samples], layout; may be empty (a side of 0) */
#define OZ_EMBEDDING 3u /* tensor: f32 [dim]; bytes: UTF-8, the model that made it */
#define OZ_SCORES 4u    /* items: oz_score[item_count] */
#define OZ_TENSOR 5u    /* tensor: f32, i64 or u8 */
#define OZ_TEXT 6u      /* bytes: UTF-8 */
#define OZ_TEXT_LIST 7u /* items: oz_span[item_count], UTF-8 */
#define OZ_NUMBER 8u    /* number, finite */
#define OZ_INTEGER 9u   /* integer */
#define OZ_BOOL 10u     /* integer: 0 or 1 */
#define OZ_JSON 11u     /* bytes: UTF-8, one JSON value */

/* Layouts of images: samples of 8 bits, interleaved, alpha not premultiplied. */
#define OZ_GRAY 1u
#define OZ_RGB 3u
#define OZ_RGBA 4u

/* One value. A struct without a union, so that every language's FFI can say it. Unused fields: 0. */
typedef struct oz_value {
    uint32_t type;   /* OZ_ABSENT.. */
    uint32_t layout; /* OZ_GRAY.. of an image */
    int64_t integer;
    double number;
    oz_span bytes;
    const void *items;
    size_t item_count;
    oz_tensor tensor;
} oz_value;

/* One option of a stage, complete (defaults filled in) and within its schema. Its type is one of
 * OZ_BOOL, OZ_INTEGER, OZ_NUMBER, OZ_TEXT, OZ_TEXT_LIST, or OZ_ABSENT where it is unset. */
typedef struct oz_option {
    oz_span name;
    oz_value value;
} oz_option;

/* --- Descriptors: constants of the file ---------------------------------------------------------- */

#define OZ_PORT_OPTIONAL 1u  /* input: may be absent; output: may be left out */
#define OZ_PORT_PUBLISHED 2u /* output: a field of the response */

/* A port. */
typedef struct oz_port {
    uint32_t struct_size;
    uint32_t type;         /* OZ_BYTES.. */
    uint32_t flags;        /* OZ_PORT_.. */
    int32_t decimals;      /* published: decimals of its numbers; -1: all */
    oz_span name;          /* binds to the nearest earlier output of this name and type; a-z 0-9 _ */
    oz_span doc;           /* one line: what it is, its shape and unit */
    oz_span default_json;  /* input: its value when nothing feeds it; empty: none */
    oz_span field;         /* published: the field of the response; empty: the name */
    oz_span neutral_json;  /* published: what the field shows when the stage is off; empty: null */
    const int64_t *shape;  /* output that is a tensor or embedding: its shape, -1 any; NULL: any */
    size_t ndim;           /* of shape */
} oz_port;

#define OZ_THREAD_SAFE 1u /* run may be called at the same time on one instance */
#define OZ_PURE 2u        /* the same inputs and options give the same outputs, bit for bit, and a
                           * call may be run again */
#define OZ_BATCHABLE 4u   /* run_batch is there and does better than run one by one */
#define OZ_BLOCKING 8u    /* run waits for something (network, disk): it takes no place from computing */

/* A stage. Its options are a JSON object: {"name": {"type": "integer", "min": 0, "max": 9,
 * "default": 5, "doc": "one line"}}. Types: bool, integer and number (with min and max), text,
 * choice (with "choices"), text_list. Without "default" the file must set it; null leaves it unset. */
typedef struct oz_stage_descriptor {
    uint32_t struct_size;
    uint32_t flags;       /* OZ_THREAD_SAFE.. */
    oz_span id;           /* "vendor/name", a-z 0-9 - */
    oz_span doc;          /* one line */
    oz_span options_json; /* empty: no options */
    const oz_port *const *inputs;
    size_t input_count; /* at most 32 */
    const oz_port *const *outputs;
    size_t output_count; /* at most 32 */
} oz_stage_descriptor;

/* --- What the host gives ------------------------------------------------------------------------- */

typedef struct oz_host oz_host;
typedef struct oz_call oz_call;

/* Where a function leaves the reason of its failure. Memory of the host: write at most *_capacity
 * bytes and set *_len. */
typedef struct oz_error {
    uint32_t struct_size;
    uint32_t reserved;
    uint64_t retry_after_ms; /* OZ_BUSY, OZ_UNAVAILABLE: when to try again; 0: unknown */
    uint8_t *message;        /* one sentence in lower case: what is wrong and what to do */
    size_t message_capacity;
    size_t message_len;
    uint8_t *code; /* a stable word in snake_case for programs; may be left empty */
    size_t code_capacity;
    size_t code_len;
    uint8_t *option; /* OZ_CONFIG: the option at fault */
    size_t option_capacity;
    size_t option_len;
} oz_error;

/* One call, valid until run or run_batch returns. The host's functions take it from any thread, but
 * allocate and put_output from one at a time. */
struct oz_call {
    uint32_t struct_size;
    int32_t status; /* run_batch: set it to this call's own status; OZ_OK before. run: not read */
    oz_span request_id;
    uint64_t remaining_ns;  /* time left when the call began */
    const oz_value *inputs; /* one for each declared input, in the descriptor's order */
    size_t input_count;
    oz_error *error;
    void *context; /* the host's */
};

/* The host's table, valid from init to deinit. Its functions may be called from any thread. */
struct oz_host {
    uint32_t struct_size;
    uint32_t abi_major;
    uint32_t abi_minor;
    uint32_t reserved;
    oz_span version; /* of the host, for logs */
    void *context;   /* the host's */

    /* An extension of the host (a const struct that begins with its struct_size), or NULL. */
    const void *(*get_extension)(const oz_host *host, oz_span id);

    /* Memory for an output of this call: `size` bytes, aligned to 64, zeroed; NULL where the host
     * has none (limit: 256 MiB a call). The host owns it; write it before run returns. */
    void *(*allocate)(oz_call *call, size_t size);

    /* Gives the output with this index (the descriptor's order), once each.
     *   release NULL: data inside memory from `allocate` is taken as it is; anything else is copied
     *   before the function returns.
     *   release set: data stay where they are, unchanged; the host calls release(owner) exactly
     *   once, on any thread, maybe after destroy, and also where it refuses the output. Data that
     *   the host keeps in another form (f32 and i64 tensors, embeddings, text) are still copied.
     * OZ_REFUSED: not declared, given twice, or another type, shape or encoding than declared; the
     * call fails with that reason whatever the stage does next. */
    int32_t (*put_output)(oz_call *call, uint32_t output, const oz_value *value,
                          void (*release)(void *owner), void *owner);
};

/* --- What the plugin gives ------------------------------------------------------------------------ */

/* One instance of a stage. */
typedef struct oz_stage {
    uint32_t struct_size;
    uint32_t reserved;
    void *instance; /* the plugin's */

    /* Says whether options are right: OZ_OK or OZ_CONFIG with the option. Pure: opens nothing, keeps
     * nothing, fast. One at a time. */
    int32_t (*validate_config)(void *instance, const oz_option *options, size_t count, oz_error *error);

    /* Makes the instance ready under options that passed validate_config: loads, opens, allocates.
     * One at a time, once before deactivate. */
    int32_t (*activate)(void *instance, const oz_option *options, size_t count, oz_error *error);

    /* Reads call->inputs, gives outputs by put_output. One at a time, or from any threads at once
     * where the stage is OZ_THREAD_SAFE. */
    int32_t (*run)(void *instance, oz_call *call);

    /* Runs several calls, of as many requests: 2 up to what `omnizap.batch/1` says. Each has its own
     * inputs, outputs, error and cancellation; set each one's status, and return OZ_OK: then a call
     * fails alone. A status other than OZ_OK returned fails them all with the error of the first,
     * except that of a stage that is OZ_PURE the host runs each call alone to find the one to blame
     * (not after OZ_BUSY and OZ_UNAVAILABLE, which concern all). NULL unless OZ_BATCHABLE. Threads as
     * run. */
    int32_t (*run_batch)(void *instance, oz_call *const *calls, size_t count);

    /* Frees what activate made. One at a time, no run in flight; activate may follow. */
    void (*deactivate)(void *instance);

    /* Frees the instance and this struct. One at a time; nothing of it is used after. */
    void (*destroy)(struct oz_stage *stage);

    /* An extension of the stage (a const struct that begins with its struct_size), or NULL. The
     * function itself may be NULL. Any thread. */
    const void *(*get_extension)(void *instance, oz_span id);
} oz_stage;

#define OZ_STAGE_FACTORY "omnizap.stage-factory/1"

/* Makes instances. A constant. */
typedef struct oz_stage_factory {
    uint32_t struct_size;
    uint32_t reserved;

    /* Makes an instance of a declared stage and puts it into *stage; cheap: what takes time belongs
     * into activate. `host` stays valid until destroy. Any thread, several at once. */
    int32_t (*create)(const oz_host *host, oz_span stage_id, oz_stage **stage, oz_error *error);
} oz_stage_factory;

/* The constant that a plugin exports as `omnizap_plugin_entry`. */
typedef struct oz_entry {
    uint64_t magic;       /* OZ_MAGIC */
    uint32_t struct_size; /* sizeof(oz_entry) */
    uint32_t abi_major;   /* OZ_ABI_MAJOR */
    uint32_t abi_minor;   /* OZ_ABI_MINOR: what the plugin was built with */
    uint32_t min_host_minor; /* the oldest host minor that it works with */
    oz_span name;         /* of the plugin, for people */
    oz_span version;      /* of the plugin */
    oz_span build;        /* compiler, commit, licence: whatever helps */
    const oz_stage_descriptor *const *stages;
    size_t stage_count; /* 1..64 */

    /* Called before any other function; counted: each OZ_OK is undone by one deinit, and a second
     * init is as good as the first. One at a time. May be NULL. */
    int32_t (*init)(const oz_host *host, oz_error *error);

    /* Undoes one init. One at a time, no instance left. May be NULL. */
    void (*deinit)(void);

    /* A factory by its id (OZ_STAGE_FACTORY), or NULL. Any thread. */
    const void *(*get_factory)(oz_span id);
} oz_entry;

/* --- Extensions ----------------------------------------------------------------------------------- */

/* Of the host: lines for its log, with the plugin's name. At most 100 a second from one plugin, the
 * rest is counted; at most 4096 bytes each, the rest is cut. */
#define OZ_EXT_LOG "omnizap.log/1"
#define OZ_LOG_ERROR 1u
#define OZ_LOG_WARN 2u
#define OZ_LOG_INFO 3u
#define OZ_LOG_DEBUG 4u
typedef struct oz_ext_log {
    uint32_t struct_size;
    uint32_t reserved;
    void (*log)(const oz_host *host, uint32_t level, oz_span message); /* any thread */
} oz_ext_log;

/* Of the host: numbers for its operator, who sees them in GET /pipelines and GET /health, one set a
 * plugin. At most 64 names of at most 64 bytes, a-z 0-9 _; what is not finite is ignored. */
#define OZ_EXT_METRICS "omnizap.metrics/1"
typedef struct oz_ext_metrics {
    uint32_t struct_size;
    uint32_t reserved;
    void (*add)(const oz_host *host, oz_span counter, double amount); /* any thread */
    void (*set)(const oz_host *host, oz_span gauge, double value);    /* any thread */
} oz_ext_metrics;

/* Of the host: whether anybody still waits for a call: its client has not gone, its time is not
 * over. Ask every millisecond or so of work, and within a batch for each call. */
#define OZ_EXT_CANCEL "omnizap.cancel/1"
typedef struct oz_ext_cancel {
    uint32_t struct_size;
    uint32_t reserved;
    int32_t (*is_cancelled)(const oz_call *call); /* 1: give up with OZ_DEADLINE. Any thread. */
} oz_ext_cancel;

/* Of a stage that is OZ_BATCHABLE: how it likes its batches. Asked for once, after activate. The
 * host may make smaller ones, of 64 at most. */
#define OZ_EXT_BATCH "omnizap.batch/1"
typedef struct oz_ext_batch {
    uint32_t struct_size;
    uint32_t max_batch; /* most calls of one run_batch, 1..256; 16 without this extension */
} oz_ext_batch;

/* --- Helps for C ------------------------------------------------------------------------------------ */

#if defined(__GNUC__)
#define OZ_EXPORT __attribute__((visibility("default")))
#else
#define OZ_EXPORT
#endif

/* A string literal as a span. */
#define OZ_TEXT_LITERAL(text) {(const uint8_t *)(text), sizeof(text) - 1}

/* 1 where a span is this NUL-terminated string. */
static inline int oz_is(oz_span span, const char *text) {
    size_t index = 0;
    while (index < span.len && text[index] != '\0' && span.data[index] == (uint8_t)text[index]) {
        index++;
    }
    return index == span.len && text[index] == '\0';
}

/* Leaves a NUL-terminated message in the error and returns the status. */
static inline int32_t oz_fail(oz_error *error, int32_t status, const char *message) {
    size_t index = 0;
    while (index < error->message_capacity && message[index] != '\0') {
        error->message[index] = (uint8_t)message[index];
        index++;
    }
    error->message_len = index;
    return status;
}

#ifdef __cplusplus
}
#endif

#endif
