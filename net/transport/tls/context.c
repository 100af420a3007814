/* From options to a context of OpenSSL. */
#include "transport/tls/tls.h"

#include <errno.h>
#include <fairway/error.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* TLS 1.2 with forward secrecy and an AEAD only; 1.3 has nothing else. */
#define CIPHERS_1_2            "ECDHE+AESGCM:ECDHE+CHACHA20"
#define MOST_CERTIFICATE_BYTES (64 * 1024) /* of the peer's chain */
#define MOST_ALPN_BYTES        255

static const unsigned char session_context[] = "fairway";

/* ---- configuration ---- */

static int copy_text(const char *from, char **ret_text)
{
    *ret_text = from ? strdup(from) : NULL;
    return !from || *ret_text ? FW_OK : UV_ENOMEM;
}

/* "a,b" as the wire has it. */
static int copy_alpn(const char *text, fwi_tls_config *config)
{
    size_t len = strlen(text);
    if (!len || len > MOST_ALPN_BYTES)
        return FW_EOPTION;
    config->alpn = malloc(len + 1);
    if (!config->alpn)
        return UV_ENOMEM;
    config->alpn_len = len + 1;
    size_t start = 0;
    for (size_t i = 0; i <= len; i++) {
        if (i < len && text[i] != ',') {
            config->alpn[i + 1] = (uint8_t)text[i];
            continue;
        }
        if (i == start)
            return FW_EOPTION; /* an empty one */
        config->alpn[start] = (uint8_t)(i - start);
        start = i + 1;
    }
    return FW_OK;
}

/* NULL: the options go together. */
static const char *contradiction(const fw_tls_options *options)
{
    if (!options->cert != !options->key)
        return "cert and key go together";
    if (options->server && !options->cert)
        return "a server needs a cert and a key";
    if (options->server && (options->skip_verify || options->server_name))
        return "skip_verify and server_name are for clients";
    if (!options->server && options->clients)
        return "clients is for servers";
    if (options->clients && !options->cacert)
        return "without a cacert, clients cannot be asked for certificates";
    if (options->skip_verify && options->cacert)
        return "a cacert without verification is of no use";
    if (options->min_version && options->min_version != FW_TLS_1_2 &&
        options->min_version != FW_TLS_1_3)
        return "min_version is 1.2 or 1.3";
    return NULL;
}

int fwi_tls_config_init(fwi_tls_config *config, const fw_tls_options *options, char *ret_detail)
{
    const char *wrong = contradiction(options);
    *config = (fwi_tls_config){.server = options->server,
                               .skip_verify = options->skip_verify,
                               .min_version = options->min_version,
                               .clients = options->clients};
    if (options->cacert && options->server && !options->clients)
        config->clients = FW_TLS_CLIENTS_REQUIRE;
    if (wrong) {
        (void)snprintf(ret_detail, FWI_TLS_DETAIL_BYTES, "%s", wrong);
        return FW_EOPTION;
    }
    int err = copy_text(options->cacert, &config->cacert);
    if (!err)
        err = copy_text(options->cert, &config->cert);
    if (!err)
        err = copy_text(options->key, &config->key);
    if (!err)
        err = copy_text(options->server_name, &config->server_name);
    if (!err && options->alpn)
        err = copy_alpn(options->alpn, config);
    if (err == FW_EOPTION)
        (void)snprintf(ret_detail, FWI_TLS_DETAIL_BYTES,
                       "alpn: one protocol or several, with commas between them");
    if (err)
        fwi_tls_config_fini(config);
    return err;
}

void fwi_tls_config_fini(fwi_tls_config *config)
{
    free(config->cacert);
    free(config->cert);
    free(config->key);
    free(config->server_name);
    free(config->alpn);
    *config = (fwi_tls_config){.server = false};
}

/* ---- files ---- */

/* What is wrong with a file: that it cannot be read, or in OpenSSL's words what is in it. */
static int file_error(const char *path, const char *what, char *ret_detail)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = ERR_reason_error_string(code);
    int err = FW_ETLS;
    FILE *file = fopen(path, "re");
    if (!file)
        err = -errno;
    else
        fclose(file);
    (void)snprintf(ret_detail, FWI_TLS_DETAIL_BYTES, "%s: %s%s%s%s", path,
                   err == FW_ETLS ? what : uv_strerror(err), err == FW_ETLS && reason ? " (" : "",
                   err == FW_ETLS && reason ? reason : "", err == FW_ETLS && reason ? ")" : "");
    return err;
}

/* Nobody is asked for the passphrase of a key. */
static int no_passphrase(char *buffer, int size, int is_writing, void *arg)
{
    (void)buffer;
    (void)size;
    (void)is_writing;
    (void)arg;
    return -1;
}

static int load_authority(SSL_CTX *context, const fwi_tls_config *config, char *ret_detail)
{
    if (!config->cacert) {
        if (!config->server && !config->skip_verify)
            SSL_CTX_set_default_verify_paths(context);
        return FW_OK;
    }
    if (SSL_CTX_load_verify_file(context, config->cacert) != 1)
        return file_error(config->cacert, "there is no certificate in PEM", ret_detail);
    if (!config->server)
        return FW_OK;
    /* Clients with several certificates choose by these names. */
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(config->cacert);
    if (!names)
        return file_error(config->cacert, "there is no certificate in PEM", ret_detail);
    SSL_CTX_set_client_CA_list(context, names);
    return FW_OK;
}

static int load_identity(SSL_CTX *context, const fwi_tls_config *config, char *ret_detail)
{
    if (!config->cert)
        return FW_OK;
    if (SSL_CTX_use_certificate_chain_file(context, config->cert) != 1)
        return file_error(config->cert, "there is no certificate in PEM", ret_detail);
    /* This also checks that the two belong together. */
    if (SSL_CTX_use_PrivateKey_file(context, config->key, SSL_FILETYPE_PEM) != 1)
        return file_error(config->key,
                          "there is no key in PEM, it has a passphrase, or it is not that of the "
                          "certificate",
                          ret_detail);
    return FW_OK;
}

/* ---- the context ---- */

static int on_alpn(SSL *ssl, const unsigned char **ret_chosen, unsigned char *ret_len,
                   const unsigned char *offered, unsigned offered_len, void *arg)
{
    (void)ssl;
    const fwi_tls_config *config = arg;
    unsigned char *chosen;
    int outcome = SSL_select_next_proto(&chosen, ret_len, config->alpn, (unsigned)config->alpn_len,
                                        offered, offered_len);
    *ret_chosen = chosen;
    /* RFC 7301, 3.2: a server that has none of them in common ends the handshake. */
    return outcome == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static void set_verification(SSL_CTX *context, const fwi_tls_config *config)
{
    int mode = SSL_VERIFY_NONE;
    if (!config->server && !config->skip_verify)
        mode = SSL_VERIFY_PEER;
    if (config->server && config->clients)
        mode = SSL_VERIFY_PEER;
    if (config->clients == FW_TLS_CLIENTS_REQUIRE)
        mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_verify(context, mode, NULL);
}

static bool set_up(SSL_CTX *context, fwi_tls_config *config)
{
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS); /* an idle connection owns no buffer */
    SSL_CTX_set_max_cert_list(context, MOST_CERTIFICATE_BYTES);
    SSL_CTX_set_default_passwd_cb(context, no_passphrase);
    set_verification(context, config);
    if (config->server) {
        /* Sessions are with the clients, in tickets that only this context can read. */
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
        SSL_CTX_set_session_id_context(context, session_context, sizeof session_context - 1);
        if (config->alpn)
            SSL_CTX_set_alpn_select_cb(context, on_alpn, config);
    } else {
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(context, fwi_tls_on_session);
        if (config->alpn &&
            SSL_CTX_set_alpn_protos(context, config->alpn, (unsigned)config->alpn_len))
            return false;
    }
    return SSL_CTX_set_cipher_list(context, CIPHERS_1_2) == 1 &&
           SSL_CTX_set_min_proto_version(
               context, config->min_version == FW_TLS_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION) == 1;
}

int fwi_tls_context_new(fwi_tls_config *config, SSL_CTX **ret_context, char *ret_detail)
{
    ERR_set_mark(); /* what fails here is no business of the program's */
    SSL_CTX *context = SSL_CTX_new(config->server ? TLS_server_method() : TLS_client_method());
    int err = context && set_up(context, config) ? FW_OK : UV_ENOMEM;
    if (err)
        (void)snprintf(ret_detail, FWI_TLS_DETAIL_BYTES, "OpenSSL could not be set up");
    if (!err)
        err = load_authority(context, config, ret_detail);
    if (!err)
        err = load_identity(context, config, ret_detail);
    ERR_pop_to_mark();
    if (err)
        SSL_CTX_free(context);
    else
        *ret_context = context;
    return err;
}
