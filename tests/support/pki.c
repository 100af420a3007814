/* Certificates for tests, made with the openssl program. */
#include "fwt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_MS 20000

static void openssl(const char *const *argv)
{
    char *err;
    int rc = fwt_run(argv, NULL, NULL, &err, WAIT_MS);
    ck_assert_msg(rc == 0, "openssl %s: %s (is openssl installed?)", argv[1], err);
    free(err);
}

static void path_of(char *ret_path, size_t size, const char *dir, const char *name,
                    const char *suffix)
{
    snprintf(ret_path, size, "%s/%s%s", dir, name, suffix);
}

static void write_extensions(const char *path, const char *names)
{
    FILE *file = fopen(path, "we");
    ck_assert_ptr_nonnull(file);
    fprintf(file, "subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n", names);
    fclose(file);
}

void fwt_certificate(const char *dir, const char *name, const char *authority, const char *names,
                     int days)
{
    char key[300], cert[300], request[300], extensions[300], ca_cert[300], ca_key[300];
    char subject[100], for_days[20];
    path_of(key, sizeof key, dir, name, ".key");
    path_of(cert, sizeof cert, dir, name, ".pem");
    path_of(request, sizeof request, dir, name, ".csr");
    path_of(extensions, sizeof extensions, dir, name, ".ext");
    snprintf(subject, sizeof subject, "/CN=%s", name);
    snprintf(for_days, sizeof for_days, "%d", days);
    const char *make_key[] = {"openssl", "ecparam", "-genkey", "-name", "prime256v1",
                              "-noout",  "-out",    key,       NULL};
    openssl(make_key);
    if (!authority) {
        const char *make_ca[] = {"openssl", "req",   "-x509",  "-new", "-key", key, "-subj",
                                 subject,   "-days", for_days, "-out", cert,   NULL};
        openssl(make_ca);
        return;
    }
    path_of(ca_cert, sizeof ca_cert, dir, authority, ".pem");
    path_of(ca_key, sizeof ca_key, dir, authority, ".key");
    write_extensions(extensions, names);
    const char *ask[] = {"openssl", "req",   "-new", "-key",  key,
                         "-subj",   subject, "-out", request, NULL};
    openssl(ask);
    const char *sign[] = {"openssl",  "x509",     "-req", "-in",   request,  "-CA",
                          ca_cert,    "-CAkey",   ca_key, "-days", for_days, "-CAcreateserial",
                          "-extfile", extensions, "-out", cert,    NULL};
    openssl(sign);
}
