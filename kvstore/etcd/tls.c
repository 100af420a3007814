/*
 * Certificates: read and checked here, before gRPC sees them, which would say little about what is
 * wrong with them and say it late.
 *
 * The files are read when the store is opened, and again when an endpoint has failed and a file has
 * changed since: the endpoint gets a new channel then (see fwi_etcd_endpoint_failed). So renewed
 * certificates are picked up when the old ones are no longer good. If what is there now cannot be
 * used (somebody is just writing it), the old ones stay.
 */
#include "etcd.h"

#include <errno.h>
#include <fairway/error.h>
#include <grpc/grpc_security.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <uv.h>

#define MAX_FILE_BYTES (4u << 20)
#define DETAIL_BYTES   320

/* What went wrong in a file. */
struct trouble {
    int error;
    char text[DETAIL_BYTES];
};

static bool fail(struct trouble *trouble, int error, const char *path, const char *text)
{
    trouble->error = error;
    (void)snprintf(trouble->text, sizeof trouble->text, "%s: %s", path, text);
    return false;
}

/* OpenSSL's own words for its last error; the errors are forgotten. */
static bool fail_ssl(struct trouble *trouble, const char *path, const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    char text[DETAIL_BYTES / 2];
    (void)snprintf(text, sizeof text, "%s (%s)", what, reason ? reason : "no reason given");
    ERR_clear_error();
    return fail(trouble, FW_ETLS, path, text);
}

/* Reads a file as a string, to be freed, and which version of it that was. */
static bool read_file(const char *path, char **ret_text, fwi_etcd_file_id *ret_id,
                      struct trouble *trouble)
{
    struct stat status;
    FILE *file = fopen(path, "re");
    if (!file || fstat(fileno(file), &status)) {
        int failure = -errno;
        if (file)
            fclose(file);
        return fail(trouble, failure, path, uv_strerror(failure));
    }
    *ret_id = (fwi_etcd_file_id){
        .inode = status.st_ino, .size = status.st_size, .modified = status.st_mtim};
    char *text = status.st_size <= (off_t)MAX_FILE_BYTES ? malloc(MAX_FILE_BYTES + 1) : NULL;
    size_t len = text ? fread(text, 1, MAX_FILE_BYTES + 1, file) : 0;
    int error = ferror(file) ? -errno : FW_OK;
    fclose(file);
    if (error) {
        free(text);
        return fail(trouble, error, path, uv_strerror(error));
    }
    if (!len || len > MAX_FILE_BYTES) {
        free(text);
        return fail(trouble, FW_ETLS, path,
                    status.st_size > (off_t)MAX_FILE_BYTES ? "too large" : "empty");
    }
    text[len] = 0;
    char *fitting = realloc(text, len + 1);
    *ret_text = fitting ? fitting : text;
    return true;
}

/* Reads every certificate of the text; *ret_first (may be NULL) gets the first one. */
static bool check_certificates(const char *path, const char *text, X509 **ret_first,
                               struct trouble *trouble)
{
    size_t count = 0;
    BIO *bio = BIO_new_mem_buf(text, -1);
    ERR_clear_error();
    for (X509 *one; bio && (one = PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL)); count++) {
        if (!count && ret_first)
            *ret_first = one;
        else
            X509_free(one);
    }
    BIO_free(bio);
    bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    if (count && at_end) {
        ERR_clear_error();
        return true;
    }
    return count ? fail_ssl(trouble, path, "a certificate is damaged")
                 : fail_ssl(trouble, path, "there is no certificate in PEM");
}

/* Nobody is asked for the password of a key. */
static int no_password(char *buffer, int size, int is_writing, void *arg)
{
    (void)buffer;
    (void)size;
    (void)is_writing;
    (void)arg;
    return -1;
}

static bool check_pair(const fwi_etcd_tls *tls, const char *cert, const char *key,
                       struct trouble *trouble)
{
    X509 *first = NULL;
    if (!check_certificates(tls->cert.path, cert, &first, trouble)) {
        X509_free(first);
        return false;
    }
    BIO *bio = BIO_new_mem_buf(key, -1);
    EVP_PKEY *private_key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL) : NULL;
    bool is_good = private_key && X509_check_private_key(first, private_key) == 1;
    if (!is_good)
        (void)fail_ssl(trouble, tls->key.path,
                       private_key ? "the key is not that of the certificate"
                                   : "there is no key in PEM, or it has a password");
    BIO_free(bio);
    EVP_PKEY_free(private_key);
    X509_free(first);
    return is_good;
}

static void wipe(char *text)
{
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
}

static void put(fwi_etcd_pem *pem, char *text, const fwi_etcd_file_id *id)
{
    wipe(pem->text);
    pem->text = text;
    pem->id = *id;
}

/* Reads all files, and takes them over if all of them are good. */
static bool load(fwi_etcd_tls *tls, struct trouble *trouble)
{
    char *cacert = NULL, *cert = NULL, *key = NULL;
    fwi_etcd_file_id cacert_id = {0}, cert_id = {0}, key_id = {0};
    bool is_good = true;
    if (tls->cacert.path)
        is_good = read_file(tls->cacert.path, &cacert, &cacert_id, trouble) &&
                  check_certificates(tls->cacert.path, cacert, NULL, trouble);
    if (is_good && tls->cert.path)
        is_good = read_file(tls->cert.path, &cert, &cert_id, trouble) &&
                  read_file(tls->key.path, &key, &key_id, trouble) &&
                  check_pair(tls, cert, key, trouble);
    if (!is_good) {
        free(cacert);
        free(cert);
        wipe(key);
        return false;
    }
    put(&tls->cacert, cacert, &cacert_id);
    put(&tls->cert, cert, &cert_id);
    put(&tls->key, key, &key_id);
    tls->generation++;
    return true;
}

static bool has_changed(const fwi_etcd_pem *pem)
{
    struct stat now;
    if (!pem->path || stat(pem->path, &now))
        return false;
    return now.st_ino != pem->id.inode || now.st_size != pem->id.size ||
           now.st_mtim.tv_sec != pem->id.modified.tv_sec ||
           now.st_mtim.tv_nsec != pem->id.modified.tv_nsec;
}

void fwi_etcd_tls_refresh(fwi_etcd_tls *tls)
{
    struct trouble trouble;
    if (has_changed(&tls->cacert) || has_changed(&tls->cert) || has_changed(&tls->key))
        (void)load(tls, &trouble);
}

static bool copy_path(const char *from, fwi_etcd_pem *pem)
{
    pem->path = from ? strdup(from) : NULL;
    return !from || pem->path;
}

int fwi_etcd_tls_init(fwi_etcd_client *client, const fwi_kv_access *access)
{
    fwi_etcd_tls *tls = &client->tls;
    struct trouble trouble;
    tls->wanted = true;
    if (!copy_path(access->cacert, &tls->cacert) || !copy_path(access->cert, &tls->cert) ||
        !copy_path(access->key, &tls->key))
        return UV_ENOMEM;
    if (load(tls, &trouble))
        return FW_OK;
    return fwi_kv_open_failed(client->kv, trouble.error, "%s", trouble.text);
}

static void pem_fini(fwi_etcd_pem *pem)
{
    free(pem->path);
    wipe(pem->text);
}

void fwi_etcd_tls_fini(fwi_etcd_tls *tls)
{
    pem_fini(&tls->cacert);
    pem_fini(&tls->cert);
    pem_fini(&tls->key);
}

grpc_channel_credentials *fwi_etcd_tls_credentials(const fwi_etcd_tls *tls)
{
    if (!tls->wanted)
        return grpc_insecure_credentials_create();
    grpc_ssl_pem_key_cert_pair pair = {.private_key = tls->key.text, .cert_chain = tls->cert.text};
    return grpc_ssl_credentials_create_ex(tls->cacert.text, tls->cert.text ? &pair : NULL, NULL,
                                          NULL);
}
