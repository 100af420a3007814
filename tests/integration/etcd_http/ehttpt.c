#include "ehttpt.h"

/* ---- TLS ---- */

static char directory[256];

const char *ehttpt_file(const char *name)
{
    static char paths[8][400];
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", directory, name);
    return path;
}

void ehttpt_make_certificates(void)
{
    static const char *const certificates[][3] = {
        {"ca", NULL, NULL},
        {"other", NULL, NULL},
        {"server", "ca", "IP:127.0.0.1,DNS:localhost"},
        {"client", "ca", "DNS:client"},
        {"elsewhere", "ca", "DNS:elsewhere.example"},
        {"stranger", "other", "DNS:stranger"},
    };
    snprintf(directory, sizeof directory, "%s", fwt_tmpdir());
    for (size_t i = 0; i < sizeof certificates / sizeof *certificates; i++)
        fwt_certificate(directory, certificates[i][0], certificates[i][1], certificates[i][2], 2);
}

void ehttpt_start_tls(fwt_etcd *etcd, const char *certificate, bool with_client_certs)
{
    char pem[400], key[400];
    snprintf(pem, sizeof pem, "%s/%s.pem", directory, certificate);
    snprintf(key, sizeof key, "%s/%s.key", directory, certificate);
    fwt_etcd_start_tls(etcd, pem, key, with_client_certs ? ehttpt_file("ca.pem") : NULL);
}

/* ---- users ---- */

void ehttpt_enable_users(int port)
{
    etcdt_ctl(port, "user", "add", "root:secret", NULL);
    etcdt_ctl(port, "user", "grant-role", "root", "root", NULL);
    etcdt_ctl(port, "user", "add", "user:word", NULL);
    etcdt_ctl(port, "role", "add", "reader", NULL);
    etcdt_ctl(port, "role", "grant-permission", "reader", "readwrite", "/p/", "--prefix=true",
              NULL);
    etcdt_ctl(port, "user", "grant-role", "user", "reader", NULL);
    etcdt_ctl(port, "auth", "enable", NULL);
}

fw_kv *ehttpt_open_as(int port, const char *user, const char *password, unsigned timeout_ms)
{
    char url[200];
    snprintf(url, sizeof url, "etcd+http://127.0.0.1:%d/p", port);
    fw_kv_options options = {.timeout_ms = timeout_ms, .user = user, .password = password};
    fw_kv *kv = NULL;
    fwt_run_for(1); /* the loop's clock stood still while the test did other things */
    FWT_OK(fw_kv_open(fwt_loop, url, &options, &kv));
    return kv;
}
