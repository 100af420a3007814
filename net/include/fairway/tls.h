/*
 * TLS 1.2 and 1.3 for connections (`tls://host:port`, and what stands on it, as `wss://`), with
 * OpenSSL. What a program has to do with it, it mostly says in the URL:
 *
 *     dial    ?ca=FILE&cert=FILE&key=FILE&verify=0|1&server_name=NAME&alpn=a,b&min=1.2|1.3
 *     listen  ?cert=FILE&key=FILE&ca=FILE&client=require|request&alpn=a,b&min=1.2|1.3
 *
 * (`cacert` is understood for `ca`, as in the URLs of stores.) An fw_tls is the same as an object,
 * for programs that share one among many connections or reload it by hand; it is given in
 * fw_conn_options.tls or fw_listener_options.tls.
 */
#ifndef FAIRWAY_TLS_H
#define FAIRWAY_TLS_H

#include <fairway/transport.h>

FW_BEGIN_DECLS

typedef enum fw_tls_version {
    FW_TLS_ANY_VERSION = 0, /* 1.2 or better */
    FW_TLS_1_2 = 12,
    FW_TLS_1_3 = 13
} fw_tls_version;

/* What a server wants of its clients. */
typedef enum fw_tls_clients {
    FW_TLS_CLIENTS_DEFAULT = 0, /* require with a cacert, else nothing */
    FW_TLS_CLIENTS_REQUIRE,     /* a certificate that the cacert has signed */
    FW_TLS_CLIENTS_REQUEST      /* the same, or none at all */
} fw_tls_clients;

typedef struct fw_tls_options {
    bool server; /* false: for dialling */
    /* PEM files. cacert: who must have signed the peer's certificate; NULL: for a client whom the
     * system trusts, for a server nobody is asked. cert (with the certificates between it and the
     * authority) and key: our own; a server must have them. */
    const char *cacert, *cert, *key;
    /* A client takes any certificate of any name: encrypted, but to whom is not known. */
    bool skip_verify;
    /* A client: the name, or IP address, that the server's certificate must be for, and that is
     * told to the server; NULL: the host of the URL. */
    const char *server_name;
    const char *alpn; /* protocols, best first, "h2,http/1.1"; NULL: none */
    fw_tls_version min_version;
    fw_tls_clients clients; /* a server */
    /* If not NULL: fw_tls_new writes here, in words, why it failed. */
    char *detail;
    size_t detail_size;
} fw_tls_options;

/* Reads the files (it waits for the disk) and makes an object with one reference. FW_EOPTION
 * (options that do not go together), FW_ETLS (a certificate or key that cannot be used), the
 * system's error for a file that cannot be read, UV_ENOMEM. An fw_tls belongs to no loop: it may be
 * used on several, and its functions are for any thread. */
FW_API FW_MUST_CHECK int fw_tls_new(const fw_tls_options *options, fw_tls **ret_tls);
FW_API fw_tls *fw_tls_acquire(fw_tls *tls);
/* NULL is allowed. Connections and listeners hold references of their own. */
FW_API void fw_tls_release(fw_tls *tls);

/* Reads the files again, for connections from now on; those that are there go on as they are. On an
 * error nothing changes, and ret_detail (may be NULL) says why. Nobody needs to call it for files
 * that were replaced: that is seen at the next connection, at most once a second; what cannot be
 * used (somebody is just writing it) is then left alone and logged. A reload forgets sessions, so
 * that whom a new cacert does not know does not resume. Errors as fw_tls_new. */
FW_API int fw_tls_reload(fw_tls *tls, char *ret_detail, size_t detail_size);

typedef struct fw_tls_info {
    char version[16];       /* "TLSv1.3" */
    char cipher[64];        /* "TLS_AES_256_GCM_SHA384" */
    char alpn[256];         /* the protocol agreed on; "" if none */
    char peer_subject[256]; /* "CN=client,O=example", cut if longer; "" without a certificate */
    bool peer_verified;     /* it has a certificate, and that was checked */
    bool resumed;           /* an earlier session went on: no certificates were sent */
} fw_tls_info;

/* What was agreed on, once the connection is open. UV_ENOTSUP: there is no TLS in it. */
FW_API int fw_conn_tls_info(const fw_conn *conn, fw_tls_info *ret_info);
/* The same's `resumed`; false without TLS. */
FW_API bool fw_tls_resumed(const fw_conn *conn);

FW_END_DECLS

#endif
