/*
 * The files that the user has named, looked at when the store is opened: curl would find out at the
 * first connection only, and then say less. curl reads them again for each connection, so those
 * that are renewed on disk are used.
 */
#include "etcd_http.h"

#include <fairway/error.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>

/* Instead of OpenSSL's own, which asks at the terminal. */
static int no_passphrase(char *buffer, int size, int for_writing, void *arg)
{
    (void)buffer;
    (void)size;
    (void)for_writing;
    (void)arg;
    return -1;
}

static X509 *read_certificate(const char *path)
{
    FILE *file = fopen(path, "re");
    X509 *certificate = file ? PEM_read_X509(file, NULL, no_passphrase, NULL) : NULL;
    if (file)
        fclose(file);
    return certificate;
}

static EVP_PKEY *read_key(const char *path)
{
    FILE *file = fopen(path, "re");
    EVP_PKEY *key = file ? PEM_read_PrivateKey(file, NULL, no_passphrase, NULL) : NULL;
    if (file)
        fclose(file);
    return key;
}

static int check_pair(const fwi_kv_access *access, char *ret_detail, size_t size)
{
    int err = FW_OK;
    X509 *certificate = read_certificate(access->cert);
    EVP_PKEY *key = read_key(access->key);
    if (!certificate)
        err = FW_ETLS,
        (void)snprintf(ret_detail, size, "cert file %s: holds no certificate", access->cert);
    else if (!key)
        err = FW_ETLS,
        (void)snprintf(ret_detail, size, "key file %s: holds no private key without a passphrase",
                       access->key);
    else if (X509_check_private_key(certificate, key) != 1)
        err = FW_ETLS, (void)snprintf(ret_detail, size, "key file %s: not the key of %s",
                                      access->key, access->cert);
    X509_free(certificate);
    EVP_PKEY_free(key);
    return err;
}

int fwi_eh_tls_check(const fwi_kv_access *access, char *ret_detail, size_t size)
{
    int err = FW_OK;
    ERR_set_mark(); /* what fails here is no business of the program's */
    if (access->cacert) {
        X509 *certificate = read_certificate(access->cacert);
        if (!certificate) {
            err = FW_ETLS;
            (void)snprintf(ret_detail, size, "cacert file %s: holds no certificate",
                           access->cacert);
        }
        X509_free(certificate);
    }
    if (!err && access->cert)
        err = check_pair(access, ret_detail, size);
    ERR_pop_to_mark();
    return err;
}
