/*
 * What an RPC protocol is to the call engine: a table of functions that turn packets into bytes and
 * back. Sans-IO: no socket, no clock, nothing remembered between calls. The engine knows calls,
 * requests and connections, and no protocol by its name.
 *
 * A packet stands in a frame. On a stream frames are told apart by the framing of the protocol; on
 * a transport with messages (ws) each message is one packet.
 */
#ifndef FWI_RPC_PROTOCOL_H
#define FWI_RPC_PROTOCOL_H

#include <fairway/rpc.h>

#define FWI_RPC_MAX_METADATA   64
#define FWI_RPC_ERROR_BYTES    256
#define FWI_RPC_MAX_PROTOCOLS  8
#define FWI_RPC_DEFAULT_FRAME  (1024 * 1024)
#define FWI_RPC_MAX_HEAD_BYTES 2048 /* of any protocol's packet, before its body */
#define FWI_RPC_TOPIC_PREFIX   "fw.topic."
#define FWI_RPC_SUBSCRIBE      "fw.subscribe"
#define FWI_RPC_UNSUBSCRIBE    "fw.unsubscribe"
#define FWI_RPC_PING           "fw.ping"

typedef enum fwi_rpc_kind {
    FWI_RPC_KIND_REQUEST,
    FWI_RPC_KIND_RESPONSE,
    FWI_RPC_KIND_ONEWAY,
    FWI_RPC_KIND_PING,
    FWI_RPC_KIND_PONG,
    FWI_RPC_KIND_CANCEL, /* of the request with this sequence */
    FWI_RPC_KIND_IGNORED /* legal, and of no meaning to us */
} fwi_rpc_kind;

typedef enum fwi_rpc_ability {
    FWI_RPC_CAN_NAMES = 1,    /* methods have names */
    FWI_RPC_CAN_NUMBERS = 2,  /* methods have numbers */
    FWI_RPC_CAN_METADATA = 4, /* of requests */
    FWI_RPC_CAN_CANCEL = 8,   /* the other end can be told that nobody waits any more */
    FWI_RPC_CAN_PING = 16,    /* packets of their own for it */
    FWI_RPC_CAN_ERRORS = 32,  /* a request can be answered with an error */
    /* An answer repeats the number, which tells calls apart, too. */
    FWI_RPC_ANSWERS_NAME_NUMBER = 64,
    FWI_RPC_ONEWAY_IS_UNNUMBERED = 128 /* one-way packets have the sequence 0 */
} fwi_rpc_ability;

/* An error as it is told: a code of the application (logic) or of the machinery, and a text. */
typedef struct fwi_rpc_error {
    int64_t code;
    bool logic;
    char text[FWI_RPC_ERROR_BYTES]; /* UTF-8, cut if longer */
} fwi_rpc_error;

typedef struct fwi_rpc_packet {
    fwi_rpc_kind kind;
    bool is_error;  /* of a response */
    uint32_t flags; /* the protocol's own; a request's stand in its answer, too */
    uint64_t sequence;
    uint32_t number;
    fw_slice method;
    fw_slice body;
    const fw_rpc_field *metadata;
    size_t metadata_count;
} fwi_rpc_packet;

typedef struct fwi_rpc_protocol {
    const char *name;
    unsigned abilities; /* fwi_rpc_ability */
    /* Sequences are 1 to this, then 1 again; and those of pings. */
    uint64_t max_sequence, max_ping;
    fw_framing
        framing; /* but for max_frame_bytes; a custom header may be longer than of sessions */
    /* Of two protocols with the same class, not 0, nobody can tell which one a peer speaks. */
    int class;
    /* Whether the first bytes of a peer are of this protocol: 1 yes, -1 no, 0 more are needed. */
    int (*recognise)(const uint8_t *data, size_t len, bool messages, uint32_t max_frame_bytes);
    /* Reads a whole frame, with its header unless it came as a message. Slices point into data,
     * metadata into room (FWI_RPC_MAX_METADATA entries). FW_EPACKET; then *ret_packet has what is
     * known for sure: kind IGNORED, or the kind and sequence of one that cannot be read further. */
    int (*decode)(fwi_rpc_packet *ret_packet, fw_rpc_field *room, const uint8_t *data, size_t len,
                  bool messages);
    /* The length of the frame. FW_EOPTION (this packet cannot be told, as a name where there are
     * numbers), FW_EFRAMESIZE. */
    int (*size)(const fwi_rpc_packet *packet, bool messages, uint32_t max_frame_bytes,
                size_t *ret_size);
    /* Writes exactly that many bytes (size is what size said). */
    void (*encode)(const fwi_rpc_packet *packet, bool messages, uint8_t *out, size_t size);
    /* Reads the error out of a response. FW_EPACKET. */
    int (*get_error)(const fwi_rpc_packet *packet, fwi_rpc_error *ret_error);
    /* Puts an error into a response. What it points to is in error, or in *ret_memory, which is to
     * be freed then. FW_EUNSUPPORTED (without CAN_ERRORS), UV_ENOMEM. */
    int (*put_error)(fwi_rpc_packet *packet, const fwi_rpc_error *error, fw_rpc_error_format format,
                     void **ret_memory);
} fwi_rpc_protocol;

extern const fwi_rpc_protocol fwi_rpc_walle;
extern const fwi_rpc_protocol fwi_rpc_fly_seed, fwi_rpc_fly_v0, fwi_rpc_fly_03, fwi_rpc_fly_04,
    fwi_rpc_fly_v1;

/* Protocols that one listener understands, or the one that a dialled connection speaks. */
typedef struct fwi_rpc_protocols {
    const fwi_rpc_protocol *list[FWI_RPC_MAX_PROTOCOLS];
    size_t count;
} fwi_rpc_protocols;

/* Parses names with commas between them; NULL: walle. FW_EOPTION: an unknown name, too many, or two
 * that cannot be told apart. */
FWI_API FW_MUST_CHECK int fwi_rpc_protocols_parse(fwi_rpc_protocols *ret_protocols,
                                                  const char *names);
/* Which one a peer speaks, by its first bytes. 1: *ret_protocol; 0: more are needed; FW_EPROTOCOL.
 */
FWI_API int fwi_rpc_protocols_recognise(const fwi_rpc_protocols *protocols, const uint8_t *data,
                                        size_t len, bool messages, uint32_t max_frame_bytes,
                                        const fwi_rpc_protocol **ret_protocol);

static inline bool fwi_slice_is(fw_slice slice, const char *text, size_t text_len)
{
    return slice.len == text_len && (!text_len || !__builtin_memcmp(slice.data, text, text_len));
}

/* Copies text, cut at a character boundary if it is too long. */
FWI_API void fwi_rpc_error_set_text(fwi_rpc_error *error, const char *text, size_t len);

#endif
