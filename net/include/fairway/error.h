/*
 * Error codes.
 *
 * Functions return int: 0 is success, a negative value an error. Errors of the operating system and
 * of libuv pass through with libuv's numbers (UV_ECONNREFUSED, ...). Our own start at -5000, one
 * block of a hundred for each module. The detail of one failure (etcd's message, the reason of a
 * driver) is on the object or in the result, not here.
 */
#ifndef FAIRWAY_ERROR_H
#define FAIRWAY_ERROR_H

#include <fairway/base.h>

FW_BEGIN_DECLS

#define FW_ERROR_MAP(X)                                                                            \
    /* net */                                                                                      \
    X(ECANCELED, -5000, "canceled because its object was closed")                                  \
    X(EDEADLINE, -5001, "deadline exceeded")                                                       \
    X(ECLOSED, -5002, "object is closed or closing")                                               \
    X(ELIMIT, -5003, "limit reached")                                                              \
    X(EURL, -5004, "malformed URL")                                                                \
    X(ESCHEME, -5005, "unknown URL scheme")                                                        \
    X(EOPTION, -5006, "unknown option or value out of range")                                      \
    X(EFRAMESIZE, -5007, "frame longer than the limit")                                            \
    X(EPROTOCOL, -5008, "peer broke the protocol")                                                 \
    X(EIDLE, -5009, "nothing received within the idle timeout")                                    \
    X(EAUTH, -5010, "authentication failed")                                                       \
    X(EREFUSED, -5011, "refused by the gateway: no such endpoint, or its limit is reached")        \
    X(ESLOW, -5012, "consumer too slow: its queue is full")                                        \
    X(ETLS, -5013, "TLS: a certificate or key is missing, unusable or not accepted")               \
    X(EMESSAGE, -5020, "message malformed, or not of its type")                                    \
    X(ESCHEMA, -5021, "malformed schema")                                                          \
    /* kvstore */                                                                                  \
    X(ENOTFOUND, -5100, "not found")                                                               \
    X(EEXISTS, -5101, "key exists already")                                                        \
    X(EMODIFIED, -5102, "key was modified by somebody else")                                       \
    X(EUNKNOWN, -5103, "outcome unknown: the write may or may not have happened")                  \
    X(EUNREACHABLE, -5104, "store unreachable")                                                    \
    X(EKEY, -5105, "key is empty, too long or contains NUL")                                       \
    X(EVALUESIZE, -5106, "value over the store's limit")                                           \
    X(ELEASE, -5107, "lease not found or expired")                                                 \
    X(EUNSUPPORTED, -5108, "not supported by this store or build")                                 \
    X(EMODULE, -5109, "driver module cannot be loaded")                                            \
    X(ESTORE, -5110, "store answered with an error")                                               \
    X(ECOMPACTED, -5111, "history of the store is gone")                                           \
    X(ENOSPACE, -5112, "store has no space left")                                                  \
    X(EDENIED, -5113, "permission denied by the store")                                            \
    X(ELOCKED, -5114, "lock is held by somebody else")                                             \
    /* discovery */                                                                                \
    X(EINSTANCE, -5200, "malformed instance")                                                      \
    X(ESERVICE, -5201, "malformed service name")                                                   \
    /* clientproxy */                                                                              \
    X(ENOINSTANCE, -5300, "no usable instance of the service")                                     \
    /* rpc */                                                                                      \
    X(EREMOTE, -5400, "peer answered with an error")                                               \
    X(EPACKET, -5401, "malformed packet")                                                          \
    X(ELOST, -5402, "connection lost while the call was in flight")

typedef enum fw_error {
    FW_OK = 0,
#define X(name, number, text) FW_##name = (number),
    FW_ERROR_MAP(X)
#undef X
} fw_error;

/* Text of an error: ours or libuv's. Never NULL, static storage (an unknown code gives a fixed
 * text). Any thread. */
FW_API const char *fw_strerror(int error);

/* Name of an error, "ENOTFOUND" or "ECONNREFUSED". Never NULL, static storage. Any thread. */
FW_API const char *fw_error_name(int error);

FW_END_DECLS

#endif
