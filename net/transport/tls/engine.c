#include "transport/tls/engine.h"

#include <arpa/inet.h>
#include <fairway/error.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the BIO between OpenSSL and us ---- */

static int bio_read(BIO *bio, char *ret_data, int len)
{
    fwi_tls_engine *engine = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    size_t n = engine->in_len < (size_t)len ? engine->in_len : (size_t)len;
    if (!n) {
        BIO_set_retry_read(bio);
        return -1;
    }
    if (!engine->open && (engine->handshake_bytes += n) > FWI_TLS_MOST_HANDSHAKE_BYTES)
        return -1;
    memcpy(ret_data, engine->in, n);
    engine->in += n;
    engine->in_len -= n;
    return (int)n;
}

static int bio_write(BIO *bio, const char *data, int len)
{
    fwi_tls_engine *engine = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    engine->sink_error = engine->sink->send(engine->arg, (const uint8_t *)data, (size_t)len);
    return engine->sink_error ? -1 : len;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

static int bio_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

static BIO_METHOD *bio_method; /* one for the process, for ever */
static uv_once_t bio_once = UV_ONCE_INIT;

static void make_bio_method(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "fairway");
    if (method && BIO_meth_set_read(method, bio_read) && BIO_meth_set_write(method, bio_write) &&
        BIO_meth_set_ctrl(method, bio_ctrl) && BIO_meth_set_create(method, bio_create))
        bio_method = method;
    else
        BIO_meth_free(method);
}

static BIO *bio_new(fwi_tls_engine *engine)
{
    uv_once(&bio_once, make_bio_method);
    BIO *bio = bio_method ? BIO_new(bio_method) : NULL;
    if (bio)
        BIO_set_data(bio, engine);
    return bio;
}

/* ---- sessions ---- */

int fwi_tls_on_session(SSL *ssl, SSL_SESSION *session)
{
    fwi_tls_engine *engine = SSL_get_app_data(ssl);
    fw_tls *tls = engine->tls;
    uv_mutex_lock(&tls->lock);
    /* One that was made before a reload is forgotten like the others. */
    bool kept = SSL_get_SSL_CTX(ssl) == tls->context &&
                fwi_tls_sessions_put(&tls->sessions, engine->peer_key, session);
    uv_mutex_unlock(&tls->lock);
    return kept;
}

static void offer_session(fwi_tls_engine *engine)
{
    fw_tls *tls = engine->tls;
    uv_mutex_lock(&tls->lock);
    SSL_SESSION *session = NULL;
    if (SSL_get_SSL_CTX(engine->ssl) == tls->context)
        session = fwi_tls_sessions_take(&tls->sessions, engine->peer_key);
    uv_mutex_unlock(&tls->lock);
    if (session)
        SSL_set_session(engine->ssl, session);
    SSL_SESSION_free(session);
}

/* ---- life ---- */

static bool is_ip(const char *name)
{
    struct in6_addr address;
    return inet_pton(AF_INET, name, &address) == 1 || inet_pton(AF_INET6, name, &address) == 1;
}

/* Whom we speak to: what the server is told, and what its certificate must say. */
static int set_peer(fwi_tls_engine *engine, const char *host, int port, const char *server_name)
{
    const char *name = server_name                       ? server_name
                       : engine->tls->config.server_name ? engine->tls->config.server_name
                                                         : host;
    size_t size = strlen(host) + strlen(name) + sizeof "65535 [] ";
    engine->peer_key = malloc(size);
    if (!engine->peer_key)
        return UV_ENOMEM;
    (void)snprintf(engine->peer_key, size, "[%s]%d %s", host, port, name);
    X509_VERIFY_PARAM *param = SSL_get0_param(engine->ssl);
    /* RFC 9525: names are those in subjectAltName, and a wildcard is a whole label. */
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT |
                                               X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (is_ip(name))
        return X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1 ? FW_OK : UV_ENOMEM;
    return SSL_set_tlsext_host_name(engine->ssl, name) == 1 &&
                   X509_VERIFY_PARAM_set1_host(param, name, 0) == 1
               ? FW_OK
               : FW_EOPTION;
}

int fwi_tls_engine_init(fwi_tls_engine *engine, fw_tls *tls, const char *host, int port,
                        const char *server_name, uint64_t now_ms, const fwi_tls_sink *sink,
                        void *arg)
{
    *engine = (fwi_tls_engine){.tls = fw_tls_acquire(tls), .sink = sink, .arg = arg};
    SSL_CTX *context = fwi_tls_context(tls, now_ms);
    engine->ssl = SSL_new(context);
    BIO *bio = engine->ssl ? bio_new(engine) : NULL;
    SSL_CTX_free(context); /* the SSL has its own reference */
    if (!bio) {
        fwi_tls_engine_fini(engine);
        return UV_ENOMEM;
    }
    SSL_set_bio(engine->ssl, bio, bio);
    SSL_set_app_data(engine->ssl, engine);
    if (tls->config.server) {
        SSL_set_accept_state(engine->ssl);
        return FW_OK;
    }
    SSL_set_connect_state(engine->ssl);
    ERR_clear_error();
    int err = set_peer(engine, host, port, server_name);
    ERR_clear_error();
    if (err)
        fwi_tls_engine_fini(engine);
    else
        offer_session(engine);
    return err;
}

void fwi_tls_engine_fini(fwi_tls_engine *engine)
{
    /* Else OpenSSL takes the session for bad when the wire ended without farewell. */
    if (engine->ssl && engine->open && !engine->failed)
        SSL_set_shutdown(engine->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(engine->ssl);
    fw_tls_release(engine->tls);
    free(engine->peer_key);
    free(engine->errmsg);
    *engine = (fwi_tls_engine){.ssl = NULL};
}

/* ---- failures ---- */

/* The peer's alerts that mean: not with this certificate. (RFC 8446, 6.2) */
static bool is_about_certificates(int alert)
{
    switch (alert) {
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_CERTIFICATE_REVOKED:
    case SSL_AD_CERTIFICATE_EXPIRED:
    case SSL_AD_CERTIFICATE_UNKNOWN:
    case SSL_AD_UNKNOWN_CA:
    case SSL_AD_ACCESS_DENIED:
    case SSL_AD_CERTIFICATE_REQUIRED:
        return true;
    default:
        return false;
    }
}

/* What OpenSSL has last complained of, as an error and in words. */
static int explain(const fwi_tls_engine *engine, char *ret_text, size_t size)
{
    unsigned long code = ERR_peek_error();
    int reason = ERR_GET_REASON(code), alert = reason - SSL_AD_REASON_OFFSET;
    const char *words = ERR_reason_error_string(code);
    if (ERR_GET_LIB(code) == ERR_LIB_SSL && alert > 0 && alert < 256) {
        const char *name = words ? strstr(words, "alert ") : NULL; /* "tlsv1 alert unknown ca" */
        (void)snprintf(ret_text, size, "the peer's alert: %s (%d)",
                       name ? name + strlen("alert ") : "unknown", alert);
        return is_about_certificates(alert) ? FW_ETLS : FW_EPROTOCOL;
    }
    if (ERR_GET_LIB(code) == ERR_LIB_SSL && reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
        long result = SSL_get_verify_result(engine->ssl);
        (void)snprintf(ret_text, size, "the peer's certificate: %s",
                       X509_verify_cert_error_string(result));
        return FW_ETLS;
    }
    if (ERR_GET_LIB(code) == ERR_LIB_SSL && reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE) {
        (void)snprintf(ret_text, size, "the peer has no certificate");
        return FW_ETLS;
    }
    (void)snprintf(ret_text, size, "%s", words ? words : "TLS failed");
    return FW_EPROTOCOL;
}

static int fail(fwi_tls_engine *engine)
{
    char text[256];
    int err = explain(engine, text, sizeof text);
    if (!engine->open && engine->handshake_bytes > FWI_TLS_MOST_HANDSHAKE_BYTES) {
        (void)snprintf(text, sizeof text, "the handshake is longer than %d bytes",
                       FWI_TLS_MOST_HANDSHAKE_BYTES);
        err = FW_EPROTOCOL;
    }
    ERR_clear_error();
    engine->failed = true;
    if (engine->sink_error)
        return engine->sink_error;
    if (!engine->errmsg)
        engine->errmsg = strdup(text);
    return err;
}

/* ---- bytes ---- */

/* True: a call of OpenSSL that did not succeed only waits for more bytes. */
static bool only_waits(const fwi_tls_engine *engine, int rc)
{
    return SSL_get_error(engine->ssl, rc) == SSL_ERROR_WANT_READ;
}

static int shake_hands(fwi_tls_engine *engine)
{
    ERR_clear_error();
    int rc = SSL_do_handshake(engine->ssl);
    if (rc == 1) {
        engine->open = true;
        engine->sink->on_open(engine->arg);
        return FW_OK;
    }
    return only_waits(engine, rc) ? FW_OK : fail(engine);
}

int fwi_tls_engine_start(fwi_tls_engine *engine)
{
    return shake_hands(engine);
}

/* Records, as long as they are whole and wanted. */
static int read_records(fwi_tls_engine *engine)
{
    uint8_t plain[FWI_TLS_RECORD_BYTES];
    while (engine->sink->wants_data(engine->arg)) {
        ERR_clear_error();
        int n = SSL_read(engine->ssl, plain, sizeof plain);
        if (n > 0) {
            engine->sink->on_data(engine->arg, plain, (size_t)n);
            continue;
        }
        int error = SSL_get_error(engine->ssl, n);
        if (error == SSL_ERROR_WANT_READ)
            return FW_OK;
        if (error != SSL_ERROR_ZERO_RETURN)
            return fail(engine);
        engine->peer_ended = true;
        engine->sink->on_end(engine->arg);
        return FW_OK;
    }
    return FW_OK;
}

ssize_t fwi_tls_engine_input(fwi_tls_engine *engine, const uint8_t *data, size_t len)
{
    if (engine->failed)
        return FW_EPROTOCOL;
    engine->in = data;
    engine->in_len = len;
    int err = engine->open ? FW_OK : shake_hands(engine);
    if (!err && engine->open && !engine->peer_ended)
        err = read_records(engine);
    size_t rest = engine->peer_ended ? 0 : engine->in_len; /* nothing is behind the end */
    engine->in = NULL;
    engine->in_len = 0;
    return err ? err : (ssize_t)(len - rest);
}

int fwi_tls_engine_output(fwi_tls_engine *engine, const uint8_t *data, size_t len)
{
    if (engine->failed || engine->ended)
        return FW_ECLOSED;
    ERR_clear_error();
    while (len) {
        /* A call of a few records, so that len fits an int; the BIO takes all that it is given. */
        int n = len < (1 << 30) ? (int)len : 1 << 30;
        int rc = SSL_write(engine->ssl, data, n);
        if (rc <= 0)
            return fail(engine);
        data += rc;
        len -= (size_t)rc;
    }
    return FW_OK;
}

int fwi_tls_engine_end(fwi_tls_engine *engine)
{
    if (!engine->open || engine->failed || engine->ended)
        return FW_OK;
    engine->ended = true;
    ERR_clear_error();
    int rc = SSL_shutdown(engine->ssl);
    return rc >= 0 || only_waits(engine, rc) ? FW_OK : fail(engine);
}

int fwi_tls_engine_wire_ended(fwi_tls_engine *engine)
{
    if (engine->peer_ended)
        return FW_OK;
    if (!engine->errmsg)
        engine->errmsg = strdup(engine->open ? "the connection was cut off (no close_notify)"
                                             : "the connection ended during the handshake");
    return FW_EPROTOCOL;
}

/* ---- what was agreed on ---- */

static void tell_subject(const fwi_tls_engine *engine, X509 *peer, fw_tls_info *ret_info)
{
    BIO *bio = BIO_new(BIO_s_mem());
    if (bio && X509_NAME_print_ex(bio, X509_get_subject_name(peer), 0, XN_FLAG_RFC2253) >= 0) {
        int n = BIO_read(bio, ret_info->peer_subject, sizeof ret_info->peer_subject - 1);
        ret_info->peer_subject[n > 0 ? n : 0] = 0;
    }
    BIO_free(bio);
    ret_info->peer_verified = SSL_get_verify_mode(engine->ssl) != SSL_VERIFY_NONE &&
                              SSL_get_verify_result(engine->ssl) == X509_V_OK;
}

void fwi_tls_engine_info(const fwi_tls_engine *engine, fw_tls_info *ret_info)
{
    *ret_info = (fw_tls_info){.resumed = SSL_session_reused(engine->ssl) == 1};
    (void)snprintf(ret_info->version, sizeof ret_info->version, "%s", SSL_get_version(engine->ssl));
    (void)snprintf(ret_info->cipher, sizeof ret_info->cipher, "%s",
                   SSL_get_cipher_name(engine->ssl));
    const unsigned char *alpn;
    unsigned alpn_len;
    SSL_get0_alpn_selected(engine->ssl, &alpn, &alpn_len);
    (void)snprintf(ret_info->alpn, sizeof ret_info->alpn, "%.*s", (int)alpn_len,
                   alpn ? (const char *)alpn : "");
    X509 *peer = SSL_get0_peer_certificate(engine->ssl);
    if (peer)
        tell_subject(engine, peer, ret_info);
}
