/*
 * The pipeline of packets: what happens between a session's frames and the handlers of methods, in
 * steps that can be put together.
 *
 *     frame -> filters -> packet codec -> [response: on_response]
 *                                      -> router -> load limit -> message codec -> middlewares ->
 * handler frame <- filters <- packet codec <----------- message codec <- answer
 * <----------------------'
 *
 * A pipeline is made once and then used by any number of sessions, each of which has a process: its
 * metadata, log and limit. The packet codec is walle's or one's own; nothing here knows protobuf.
 * <fairway/rpc.h> makes calls; this answers them, with more between the wire and the handler.
 */
#ifndef FAIRWAY_PIPELINE_H
#define FAIRWAY_PIPELINE_H

#include <fairway/codec.h>
#include <fairway/log.h>
#include <fairway/rpc.h>
#include <fairway/session.h>

FW_BEGIN_DECLS

typedef struct fw_pipeline fw_pipeline;
typedef struct fw_process fw_process;                 /* of one session */
typedef struct fw_process_request fw_process_request; /* on its way through */

/* ---- packets ---- */

#define FW_PACKET_MAX_METADATA 64

typedef enum fw_packet_kind {
    FW_PACKET_REQUEST,
    FW_PACKET_RESPONSE,
    FW_PACKET_ONEWAY /* a request that wants no response */
} fw_packet_kind;

/* Error codes besides an application's own, which are told with logic set. */
enum {
    FW_PROCESS_CODE_INTERNAL = 1, /* the handler gave no answer, or none that can be sent */
    FW_PROCESS_CODE_ENCODE = 2,   /* its message cannot be encoded */
    FW_PROCESS_CODE_DECODE = 3,   /* the request's body cannot be decoded */
    FW_PROCESS_CODE_NO_METHOD = 9,
    FW_PROCESS_CODE_BUSY = 10 /* too many requests */
};

/* Instead of a body. */
typedef struct fw_packet_error {
    int64_t code;
    bool logic; /* the application's, not the machinery's */
    char text[256];
} fw_packet_error;

typedef struct fw_packet {
    fw_packet_kind kind;
    uint32_t flags;    /* the protocol's own; an answer has its request's */
    uint64_t sequence; /* an answer has its request's */
    fw_slice method;   /* by name or number */
    uint32_t number;
    fw_slice body;
    const fw_rpc_field *metadata;
    size_t metadata_count;
    bool is_error; /* a response that is one */
    fw_packet_error error;
} fw_packet;

/* A protocol's packets. Both functions keep nothing. */
typedef struct fw_packet_codec {
    const char *name;
    /* Slices point into data, metadata into the room of FW_PACKET_MAX_METADATA entries; *ret_packet
     * is zeroed before. An error, as FW_EPACKET, ends the session. */
    int (*decode)(const uint8_t *data, size_t len, fw_rpc_field *metadata_room,
                  fw_packet *ret_packet, void *arg);
    /* *ret_data is to be freed. FW_EOPTION: the protocol cannot say this; UV_ENOMEM. */
    int (*encode)(const fw_packet *packet, uint8_t **ret_data, size_t *ret_len, void *arg);
    void *arg;
} fw_packet_codec;

/* walle's (net/rpc/walle/README.md), with errors in this format. Static storage. */
FW_API const fw_packet_codec *fw_packet_codec_walle(fw_rpc_error_format errors);

/* ---- making a pipeline ---- */

/* Looks at, changes or holds up whole frames: decryption, checks, a recording. Filters see incoming
 * frames in the order of adding, and outgoing ones in the opposite order. Either function may be
 * NULL. They return FW_OK (go on, with *frame as they left it: a part of it, or memory of
 * fw_process_scratch), FW_FILTER_DROP (the frame ends here, without a word) or an error, which ends
 * the session (in) or is what the sender of the packet gets (out). */
#define FW_FILTER_DROP 1
typedef struct fw_filter {
    int (*in)(fw_process *process, fw_slice *frame, void *arg);
    int (*out)(fw_process *process, fw_slice *frame, void *arg);
    void *arg;
} fw_filter;

/* A middleware or handler. A middleware goes on with fw_process_next, now or (after
 * fw_process_keep) later, or answers itself. */
typedef void (*fw_process_fn)(fw_process_request *request, void *arg);
typedef struct fw_process_step {
    fw_process_fn fn;
    void *arg;
} fw_process_step;

typedef struct fw_route {
    const char *method; /* by name, by number, or by either; NULL: by number only */
    uint32_t number;
    fw_process_fn handler;
    void *arg;
    const fw_process_step *middlewares; /* of this route, after those of the pipeline */
    size_t middleware_count;
    bool raw;                                 /* bodies are not decoded */
    const void *request_type, *response_type; /* of a message codec that has types */
} fw_route;

/* What happens to a request beyond max_in_flight. */
typedef enum fw_overload {
    FW_OVERLOAD_REFUSE, /* answered with FW_PROCESS_CODE_BUSY */
    FW_OVERLOAD_DROP,   /* forgotten, without a word */
    FW_OVERLOAD_CLOSE,  /* the session closes with FW_ELIMIT */
    FW_OVERLOAD_WAIT    /* nothing more is read until half of them are answered; what had been read
                           by then is still handled */
} fw_overload;

typedef struct fw_pipeline_options {
    const fw_packet_codec *packets; /* must outlive the pipeline; NULL: walle's */
    const char *messages;           /* name of the message codec; NULL: bodies are bytes */
    fw_codec_limits message_limits;
    uint32_t max_in_flight; /* requests of a session that wait for their answer; 0: 1024 */
    uint32_t
        max_in_flight_total; /* of all sessions; then as overload, but never WAIT; 0: no limit */
    fw_overload overload;
    fw_process_fn no_route; /* handles what has no route, its body as bytes; NULL: the answer is
                               FW_PROCESS_CODE_NO_METHOD */
    void *arg;              /* of no_route */
} fw_pipeline_options;

/* FW_EOPTION, FW_EUNSUPPORTED (see fw_codec_get), UV_ENOMEM. */
FW_API FW_MUST_CHECK int fw_pipeline_create(const fw_pipeline_options *options,
                                            fw_pipeline **ret_pipeline);
/* After the last process that uses it, and the last kept request. NULL is fine. */
FW_API void fw_pipeline_destroy(fw_pipeline *pipeline);
/* UV_ENOMEM. */
FW_API FW_MUST_CHECK int fw_pipeline_add_filter(fw_pipeline *pipeline, const fw_filter *filter);
/* For the routes that are added after it. UV_ENOMEM. */
FW_API FW_MUST_CHECK int fw_pipeline_add_middleware(fw_pipeline *pipeline, fw_process_fn fn,
                                                    void *arg);
/* FW_EEXISTS, FW_EOPTION (neither name nor number, no handler), UV_ENOMEM; then nothing was added.
 */
FW_API FW_MUST_CHECK int fw_pipeline_add_route(fw_pipeline *pipeline, const fw_route *route);

typedef struct fw_pipeline_stats {
    uint64_t requests;  /* that had a route, notifications included */
    uint64_t unrouted;  /* that had none */
    uint64_t overloads; /* that were over a limit */
    uint64_t failures;  /* answered with an error */
    uint64_t filtered;  /* frames that a filter has dropped */
    uint32_t in_flight; /* now */
} fw_pipeline_stats;
FW_API void fw_pipeline_stats_get(const fw_pipeline *pipeline, fw_pipeline_stats *ret_stats);

/* ---- processes ---- */

typedef struct fw_process_options {
    /* Responses to what was sent with fw_process_send; lent. NULL: dropped. */
    void (*on_response)(fw_process *process, const fw_packet *packet, void *arg);
    void (*on_drain)(fw_process *process, void *arg); /* of the session; may be NULL */
    /* The session is over; the process is freed after it. May be NULL. */
    void (*on_closed)(fw_process *process, int reason, void *arg);
    void *arg;
} fw_process_options;

/* Handles a session's frames from now on, until the session ends; takes its events over. UV_ENOMEM.
 */
FW_API FW_MUST_CHECK int fw_process_new(fw_pipeline *pipeline, fw_session *session,
                                        const fw_process_options *options,
                                        fw_process **ret_process);
FW_API fw_session *fw_process_session(const fw_process *process);
FW_API uint32_t fw_process_in_flight(const fw_process *process);
/* Sends a packet through the way back. Errors of the codec and of the filters, FW_ECANCELED (a
 * filter has dropped it), and as fw_session_send. */
FW_API FW_MUST_CHECK int fw_process_send(fw_process *process, const fw_packet *packet);

/* The session's own metadata: names to texts, as who has logged in. value NULL removes. UV_ENOMEM.
 */
FW_API FW_MUST_CHECK int fw_process_set(fw_process *process, const char *name, const char *value);
/* NULL: there is none. Valid until it is set anew. */
FW_API const char *fw_process_get(const fw_process *process, const char *name);

/* The session's own log: what it logs goes to this sink instead of the program's. NULL: to the
 * program's. */
FW_API void fw_process_set_log(fw_process *process, fw_log_level lowest, fw_log_fn sink, void *arg);
/* Logs with the session's id and peer. fields end with key NULL; NULL: none; at most 13. */
FW_API void fw_process_log(fw_process *process, fw_log_level level, const char *message,
                           const fw_log_field *fields);

/* For filters: memory that lives until the frame is through. NULL: no memory. */
FW_API uint8_t *fw_process_scratch(fw_process *process, size_t len);

/* ---- requests ---- */

/* NULL once the session is over. */
FW_API fw_process *fw_process_request_process(const fw_process_request *request);
FW_API const fw_packet *fw_process_request_packet(const fw_process_request *request);
/* The decoded body, as the message codec has it; NULL if bodies are bytes, or for an empty body of
 * a codec without types. The request's. */
FW_API void *fw_process_request_message(const fw_process_request *request);
/* Value of an entry of the packet's metadata; data is NULL if there is none. */
FW_API fw_slice fw_process_request_metadata(const fw_process_request *request, const char *name);

/* The next middleware, or the handler; returns when that has. Nothing happens if the request is
 * answered or the last step was reached. A kept request is given away by it: whoever called may not
 * touch it after, unless it is a step of the request's itself. */
FW_API void fw_process_next(fw_process_request *request);
/* Copies the request, to be answered after the return, on the loop. Go on with the copy; it must be
 * answered, which frees it, also when the session is over. NULL: no memory. */
FW_API fw_process_request *fw_process_keep(fw_process_request *request);
/* True once it was answered, or kept by a step that was called. For middlewares after
 * fw_process_next. */
FW_API bool fw_process_request_is_done(const fw_process_request *request);

/* Metadata of the answer, lent until that. */
FW_API void fw_process_set_answer_metadata(fw_process_request *request,
                                           const fw_rpc_field *metadata, size_t count);
/* Answer a request, once; to a notification, it only ends it. A request whose steps return without
 * an answer, and without keeping it, is answered with FW_PROCESS_CODE_INTERNAL. FW_ECLOSED (the
 * session is over), FW_EFRAMESIZE and FW_ELIMIT and what cannot be encoded (the caller gets an
 * error instead), UV_ENOMEM. */
FW_API int fw_process_reply(fw_process_request *request, fw_slice body);
/* A message of the codec; it stays the caller's. */
FW_API int fw_process_reply_message(fw_process_request *request, const void *message);
/* code: the application's own, not 0. text: UTF-8. */
FW_API int fw_process_fail(fw_process_request *request, int64_t code, const char *text);

FW_END_DECLS

#endif
