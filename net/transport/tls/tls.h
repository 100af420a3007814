/* The inner side of fw_tls: a configuration, the context of OpenSSL that was last made of it, and
 * the sessions that may go on. */
#ifndef FWI_TLS_H
#define FWI_TLS_H

#include <fairway/tls.h>
#include <fairway/url.h>
#include <openssl/ssl.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <uv.h>

#include "base/list.h"

#define FWI_TLS_DETAIL_BYTES 320

/* A copy of the options. */
typedef struct fwi_tls_config {
    bool server, skip_verify;
    char *cacert, *cert, *key, *server_name;
    fw_tls_version min_version;
    fw_tls_clients clients;
    uint8_t *alpn; /* as on the wire: each with its length in front */
    size_t alpn_len;
} fwi_tls_config;

/* Sessions of servers that were spoken to: the last one used is the first; few, so a list. */
typedef struct fwi_tls_sessions {
    fwi_list list;
    size_t count;
} fwi_tls_sessions;

/* Which version of a file is there; zeros if none is. */
typedef struct fwi_tls_file_id {
    ino_t inode;
    off_t size;
    struct timespec modified;
} fwi_tls_file_id;

struct fw_tls {
    atomic_uint refs;
    fwi_tls_config config;
    uv_mutex_t lock; /* of everything below */
    SSL_CTX *context;
    fwi_tls_file_id files[3]; /* cacert, cert, key, when they were last read */
    uint64_t looked_ms;       /* when it was last looked whether they changed */
    fwi_tls_sessions sessions;
};

/* ---- configuration ---- */

int fwi_tls_config_init(fwi_tls_config *config, const fw_tls_options *options, char *ret_detail);
void fwi_tls_config_fini(fwi_tls_config *config);
/* Reads the files; ret_detail has FWI_TLS_DETAIL_BYTES. */
int fwi_tls_context_new(fwi_tls_config *config, SSL_CTX **ret_context, char *ret_detail);

/* The context for a new connection, with a reference; files that have changed are read before that.
 */
SSL_CTX *fwi_tls_context(fw_tls *tls, uint64_t now_ms);

/* ---- sessions ---- */

void fwi_tls_sessions_init(fwi_tls_sessions *sessions);
void fwi_tls_sessions_clear(fwi_tls_sessions *sessions);
/* Takes over the reference on the session; false: it is not kept, and the reference stays with the
 * caller. */
bool fwi_tls_sessions_put(fwi_tls_sessions *sessions, const char *peer, SSL_SESSION *session);
/* OpenSSL's callback: a connection of a client has a session that may go on later. */
int fwi_tls_on_session(SSL *ssl, SSL_SESSION *session);
/* One to go on with, with a reference, or NULL. Sessions of TLS 1.3 are for one use. */
SSL_SESSION *fwi_tls_sessions_take(fwi_tls_sessions *sessions, const char *peer);

/* ---- URLs ---- */

/* The parameters of a URL that are ours, ending with NULL. */
extern const char *const fwi_tls_params[];
/* The object for a dial or a listener: the given one (may be NULL), or one after the URL's
 * parameters; with a reference. *ret_server_name is the URL's, or NULL. FW_EOPTION, and as
 * fw_tls_new. */
int fwi_tls_of_url(const fw_url *url, fw_tls *given, bool server, fw_tls **ret_tls,
                   const char **ret_server_name);

#endif
