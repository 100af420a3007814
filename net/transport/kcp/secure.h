/*
 * The authenticated mode of kcp: what goes around its datagrams. Sans-IO; README.md has the threat
 * model.
 *
 *     client                                                server
 *       HELLO  eph_c                     ->                          keeps nothing
 *                                        <-  RETRY  cookie           shorter than the HELLO
 *       HELLO  eph_c, cookie             ->                          makes a session, half open
 *                                        <-  ACCEPT id, eph_s, tag
 *       DATA   id, seq, sealed           ->                          the session is open
 *                                        <-  DATA
 *
 * HELLO, 128 bytes:  type 1, version 1, flags 1, 0 x 5, eph_c 32, time 8, cookie 16, 0 x 48, mac 16
 * RETRY, 40 bytes:   type 1, version 1, 0 x 6, first 8 of eph_c, time 8, cookie 16
 * ACCEPT, 72 bytes:  type 1, version 1, 0 x 6, first 8 of eph_c, id 8, eph_s 32, tag 16
 * DATA:              type 1, id 8, seq 8, sealed: kind 1, datagram of KCP; tag 16
 *
 * Integers are little-endian. Keys: X25519(eph_c, eph_s), X25519(eph_c, server's key) if the client
 * knows it, and the pre-shared key if there is one, through HKDF-SHA256 salted with the hash of
 * HELLO and ACCEPT; one key and one IV for each direction. Sealing is ChaCha20-Poly1305; the nonce
 * is the IV xor seq; what stands in front is authenticated, too.
 */
#ifndef FWI_KCP_SECURE_H
#define FWI_KCP_SECURE_H

#include <fairway/base.h>

#define FWI_KCPS_KEY_BYTES      32
#define FWI_KCPS_IV_BYTES       12
#define FWI_KCPS_TAG_BYTES      16
#define FWI_KCPS_HELLO_BYTES    128
#define FWI_KCPS_RETRY_BYTES    40
#define FWI_KCPS_ACCEPT_BYTES   72
#define FWI_KCPS_DATA_BYTES     17 /* in front of what is sealed */
#define FWI_KCPS_OVERHEAD_BYTES (FWI_KCPS_DATA_BYTES + 1 + FWI_KCPS_TAG_BYTES)
#define FWI_KCPS_COOKIE_MS      10000
#define FWI_KCPS_WINDOW         1024 /* sequence numbers that may come late */

enum { FWI_KCPS_HELLO = 1, FWI_KCPS_RETRY = 2, FWI_KCPS_ACCEPT = 3, FWI_KCPS_DATA = 4 };
/* What is sealed. CONFIRM tells the server that its ACCEPT came, and is answered. */
enum { FWI_KCPS_KCP = 0, FWI_KCPS_CLOSE = 1, FWI_KCPS_CONFIRM = 2, FWI_KCPS_CONFIRMED = 3 };

/* What the two ends were given. Zeroed: nothing. */
typedef struct fwi_kcps_secrets {
    bool has_psk, has_server_key;
    uint8_t psk[FWI_KCPS_KEY_BYTES];
    uint8_t server_public[FWI_KCPS_KEY_BYTES];
    uint8_t server_private[FWI_KCPS_KEY_BYTES]; /* listen only */
} fwi_kcps_secrets;

/* psk: a file of at least 16 bytes; key: a PEM file with the server's X25519 key; server_key: its
 * public half in hex. Each may be NULL. FW_EOPTION, or the error of reading. */
int fwi_kcps_secrets_load(fwi_kcps_secrets *ret_secrets, const char *psk, const char *key,
                          const char *server_key);
/* Forgets them. */
void fwi_kcps_wipe(void *secret, size_t len);

/* One side of a session. */
typedef struct fwi_kcps {
    uint64_t id;
    uint8_t send_key[FWI_KCPS_KEY_BYTES], recv_key[FWI_KCPS_KEY_BYTES];
    uint8_t send_iv[FWI_KCPS_IV_BYTES], recv_iv[FWI_KCPS_IV_BYTES];
    uint64_t send_seq;
    uint64_t recv_top; /* the newest that came */
    uint64_t recv_seen[FWI_KCPS_WINDOW / 64];
} fwi_kcps;

/* Seals a datagram: out has room for len + FWI_KCPS_OVERHEAD_BYTES. Returns that length, or 0 if
 * there is no memory or the numbers are used up. */
size_t fwi_kcps_seal(fwi_kcps *session, uint8_t kind, const uint8_t *data, size_t len,
                     uint8_t *ret_out);
/* Opens one in place. FW_EAUTH: forged, of another session, or seen before. *ret_newest: no newer
 * one came before. */
int fwi_kcps_open(fwi_kcps *session, uint8_t *data, size_t len, uint8_t *ret_kind,
                  uint8_t **ret_data, size_t *ret_len, bool *ret_newest);
/* The id of a DATA datagram; false if it is none. */
bool fwi_kcps_id(const uint8_t *data, size_t len, uint64_t *ret_id);

/* ---- the client's handshake ---- */
typedef struct fwi_kcps_client {
    const fwi_kcps_secrets *secrets;
    uint8_t private_key[FWI_KCPS_KEY_BYTES];
    uint8_t hello[FWI_KCPS_HELLO_BYTES]; /* to be sent, and again until the answer comes */
    bool has_cookie;
} fwi_kcps_client;

/* Makes the keys and the first HELLO. UV_ENOMEM or what OpenSSL cannot do: FW_EAUTH. */
int fwi_kcps_client_init(fwi_kcps_client *client, const fwi_kcps_secrets *secrets);
/* A RETRY came: true if the HELLO has changed and is to be sent. */
bool fwi_kcps_client_retry(fwi_kcps_client *client, const uint8_t *data, size_t len);
/* An ACCEPT came. UV_EINVAL: it is no answer to us; FW_EAUTH: one that does not have the secrets.
 */
int fwi_kcps_client_accept(fwi_kcps_client *client, const uint8_t *data, size_t len,
                           fwi_kcps *ret_session);

/* ---- the server's ---- */
typedef struct fwi_kcps_server {
    const fwi_kcps_secrets *secrets;
    uint8_t cookie_key[FWI_KCPS_KEY_BYTES];
} fwi_kcps_server;

typedef enum fwi_kcps_greeting {
    FWI_KCPS_DROP,    /* malformed, or by somebody without the secrets */
    FWI_KCPS_SEND,    /* ret_reply is a RETRY: send it and forget */
    FWI_KCPS_WELCOME, /* a HELLO with a good cookie: its sender really is at this address */
} fwi_kcps_greeting;

int fwi_kcps_server_init(fwi_kcps_server *server, const fwi_kcps_secrets *secrets);
/* Judges a HELLO from an address (any bytes that stand for it). */
fwi_kcps_greeting fwi_kcps_server_hello(const fwi_kcps_server *server, uint64_t now_ms,
                                        const void *address, size_t address_len,
                                        const uint8_t *data, size_t len,
                                        uint8_t ret_reply[FWI_KCPS_RETRY_BYTES]);
/* Makes the session of a welcome HELLO under an id, and the ACCEPT. FW_EAUTH. */
int fwi_kcps_server_accept(const fwi_kcps_server *server, const uint8_t *hello, uint64_t id,
                           fwi_kcps *ret_session, uint8_t ret_accept[FWI_KCPS_ACCEPT_BYTES]);
/* Where a HELLO has its ephemeral key, which names the attempt. */
#define FWI_KCPS_HELLO_NAME       8
#define FWI_KCPS_HELLO_NAME_BYTES 32

#endif
