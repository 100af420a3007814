#include "ehttpt.h"

#include <poll.h>

fw_kv *ehttpt_open(int port, const char *path, unsigned timeout_ms)
{
    char url[200];
    snprintf(url, sizeof url, "etcd+http://127.0.0.1:%d%s", port, path);
    return etcdt_open_url(url, timeout_ms);
}

void ehttpt_restart_at(fwt_etcd *etcd, int port)
{
    if (etcd->proc)
        fwt_etcd_kill(etcd);
    etcd->port = port;
    fwt_etcd_restart(etcd);
}

void ehttpt_compact(int port)
{
    fw_kv *kv = ehttpt_open(port, "/compact", 5000);
    char revision[32];
    snprintf(revision, sizeof revision, "%lld", (long long)etcdt_put(kv, "k", "v")->revision);
    etcdt_ctl(port, "compact", revision, NULL);
    etcdt_close(kv, 2000);
}

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
    static const char script[] =
        "set -e; cd \"$1\"\n"
        "authority() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
        " -keyout $1.key -out $1.pem -days 2 -subj /CN=$1"
        " -addext basicConstraints=critical,CA:TRUE; }\n"
        "certificate() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
        " -keyout $1.key -out $1.csr -subj /O=$1\n"
        " printf 'subjectAltName=%s\\nextendedKeyUsage=serverAuth,clientAuth\\n' $2 >$1.ext\n"
        " openssl x509 -req -in $1.csr -CA $3.pem -CAkey $3.key -CAcreateserial -days 2"
        " -extfile $1.ext -out $1.pem; }\n"
        "authority ca; authority other\n"
        "certificate server IP:127.0.0.1,DNS:localhost ca\n"
        "certificate client DNS:client ca\n"
        "certificate elsewhere DNS:elsewhere.example ca\n"
        "certificate stranger DNS:stranger other\n";
    snprintf(directory, sizeof directory, "%s", fwt_tmpdir());
    const char *argv[] = {"sh", "-c", script, "sh", directory, NULL};
    char *err;
    int rc = fwt_run(argv, NULL, NULL, &err, 20000);
    ck_assert_msg(rc == 0, "openssl: %s", err);
    free(err);
}

/* True if somebody takes connections there. */
static bool is_up(int port)
{
    char endpoint[64];
    snprintf(endpoint, sizeof endpoint, "127.0.0.1:%d", port);
    const char *argv[] = {"openssl",
                          "s_client",
                          "-brief",
                          "-connect",
                          endpoint,
                          "-cert",
                          ehttpt_file("client.pem"),
                          "-key",
                          ehttpt_file("client.key"),
                          NULL};
    return fwt_run(argv, "", NULL, NULL, 5000) == 0;
}

void ehttpt_start_tls(fwt_etcd *etcd, const char *certificate, bool with_client_certs)
{
    char client[64], peer[64], cluster[80], pem[400], key[400];
    *etcd = (fwt_etcd){.port = fwt_free_port(), .peer_port = fwt_free_port()};
    snprintf(etcd->data_dir, sizeof etcd->data_dir, "%s/etcd", fwt_tmpdir());
    snprintf(client, sizeof client, "https://127.0.0.1:%d", etcd->port);
    snprintf(peer, sizeof peer, "http://127.0.0.1:%d", etcd->peer_port);
    snprintf(cluster, sizeof cluster, "t=%s", peer);
    snprintf(pem, sizeof pem, "%s/%s.pem", directory, certificate);
    snprintf(key, sizeof key, "%s/%s.key", directory, certificate);
    const char *argv[32] = {
        "etcd",
        "--name",
        "t",
        "--data-dir",
        etcd->data_dir,
        "--listen-client-urls",
        client,
        "--advertise-client-urls",
        client,
        "--listen-peer-urls",
        peer,
        "--initial-advertise-peer-urls",
        peer,
        "--initial-cluster",
        cluster,
        "--logger",
        "zap",
        "--log-level",
        "error",
        "--unsafe-no-fsync",
        "--cert-file",
        pem,
        "--key-file",
        key,
    };
    if (with_client_certs) {
        argv[24] = "--client-cert-auth";
        argv[25] = "--trusted-ca-file";
        argv[26] = ehttpt_file("ca.pem");
    }
    etcd->proc = fwt_proc_start(argv);
    uint64_t deadline = etcdt_now_ms() + 20000;
    while (!is_up(etcd->port)) {
        ck_assert_msg(etcdt_now_ms() < deadline, "etcd did not come up");
        poll(NULL, 0, 50);
    }
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
