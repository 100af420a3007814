/*
 * What fairway ping sends: a request of walle's protocol for the method "echo", with a number and
 * some bytes. So it is answered by services of that protocol (an error is an answer, too), and by
 * everything that sends bytes back as they come.
 *
 *     length uint32 little-endian, of what follows | 1 Cmd | 2 Flag | 3 Sequence | 5 Uri | 7 Body
 *
 * Protobuf, see net/rpc/walle. Where there are messages, one packet is one of them, without its
 * length. No socket and no clock.
 */
#ifndef PING_PACKET_H
#define PING_PACKET_H

#include <fairway/base.h>

#define PING_MAX_SIZE     1000000
#define PING_HEAD_SIZE    64 /* more than what stands before the bytes */
#define PING_LENGTH_BYTES 4

/* Writes packet `number` with size bytes at out, which has room for PING_HEAD_SIZE more; its
 * length. */
size_t ping_write(uint8_t *out, uint64_t number, uint32_t size);

typedef struct ping_answer {
    uint64_t number;
    bool is_error;   /* the service has answered with one */
    bool is_damaged; /* other bytes than those that were sent */
} ping_answer;

typedef struct ping_reader {
    uint32_t size; /* of the bytes that were sent */
    uint8_t *buffer;
    size_t len; /* of what there is of a packet */
} ping_reader;

/* UV_ENOMEM. */
FW_MUST_CHECK int ping_reader_init(ping_reader *reader, uint32_t size);
void ping_reader_fini(ping_reader *reader);
/* Takes some of the bytes, *ret_taken of them; true if there is an answer now. FW_EPROTOCOL: it is
 * none. */
FW_MUST_CHECK int ping_reader_push(ping_reader *reader, const uint8_t *data, size_t len,
                                   size_t *ret_taken, bool *ret_has_answer,
                                   ping_answer *ret_answer);
/* The same of a packet that came as a message. */
FW_MUST_CHECK int ping_read_message(const ping_reader *reader, const uint8_t *data, size_t len,
                                    ping_answer *ret_answer);

#endif
