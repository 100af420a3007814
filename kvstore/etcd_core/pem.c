/*
 * Certificates and keys, read and checked here, before a transport's library sees them, which would
 * say little about what is wrong with them, and say it late.
 */
#include "etcd_core.h"

#include <errno.h>
#include <fairway/error.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <uv.h>

#define MAX_FILE_BYTES (4u << 20)

/* What went wrong in a file. */
struct trouble {
    int error;
    char *text;
};

static bool fail(struct trouble *trouble, int error, const char *path, const char *text)
{
    trouble->error = error;
    (void)snprintf(trouble->text, FWI_EC_PEM_DETAIL_BYTES, "%s: %s", path, text);
    return false;
}

/* OpenSSL's own words for its last error. */
static bool fail_ssl(struct trouble *trouble, const char *path, const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    char text[FWI_EC_PEM_DETAIL_BYTES / 2];
    (void)snprintf(text, sizeof text, "%s (%s)", what, reason ? reason : "no reason given");
    return fail(trouble, FW_ETLS, path, text);
}

/* Reads a file as a string, to be freed. */
static bool read_file(const char *path, char **ret_text, struct trouble *trouble)
{
    struct stat status;
    FILE *file = fopen(path, "re");
    if (!file || fstat(fileno(file), &status)) {
        int failure = -errno;
        if (file)
            fclose(file);
        return fail(trouble, failure, path, uv_strerror(failure));
    }
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
    for (X509 *one; bio && (one = PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL)); count++) {
        if (!count && ret_first)
            *ret_first = one;
        else
            X509_free(one);
    }
    BIO_free(bio);
    bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    if (count && at_end)
        return true;
    return count ? fail_ssl(trouble, path, "a certificate is damaged")
                 : fail_ssl(trouble, path, "there is no certificate in PEM");
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

static bool check_pair(const char *cert_path, const char *cert, const char *key_path,
                       const char *key, struct trouble *trouble)
{
    X509 *first = NULL;
    if (!check_certificates(cert_path, cert, &first, trouble)) {
        X509_free(first);
        return false;
    }
    BIO *bio = BIO_new_mem_buf(key, -1);
    EVP_PKEY *private_key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;
    bool is_good = private_key && X509_check_private_key(first, private_key) == 1;
    if (!is_good)
        (void)fail_ssl(trouble, key_path,
                       private_key ? "the key is not that of the certificate"
                                   : "there is no key in PEM, or it has a passphrase");
    BIO_free(bio);
    EVP_PKEY_free(private_key);
    X509_free(first);
    return is_good;
}

int fwi_ec_pems_read(const char *cacert, const char *cert, const char *key, fwi_ec_pems *ret_pems,
                     char *ret_detail)
{
    fwi_ec_pems pems = {.cacert = NULL};
    struct trouble trouble = {.text = ret_detail};
    bool is_good = true;
    ERR_set_mark(); /* what fails here is no business of the program's */
    if (cacert)
        is_good = read_file(cacert, &pems.cacert, &trouble) &&
                  check_certificates(cacert, pems.cacert, NULL, &trouble);
    if (is_good && cert)
        is_good = read_file(cert, &pems.cert, &trouble) && read_file(key, &pems.key, &trouble) &&
                  check_pair(cert, pems.cert, key, pems.key, &trouble);
    ERR_pop_to_mark();
    if (is_good)
        *ret_pems = pems;
    else
        fwi_ec_pems_fini(&pems);
    return is_good ? FW_OK : trouble.error;
}

void fwi_ec_pems_fini(fwi_ec_pems *pems)
{
    if (pems->key)
        explicit_bzero(pems->key, strlen(pems->key));
    free(pems->cacert);
    free(pems->cert);
    free(pems->key);
    *pems = (fwi_ec_pems){.cacert = NULL};
}
