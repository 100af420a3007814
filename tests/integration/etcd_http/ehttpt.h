/* What the tests of the driver for etcd's JSON gateway share, beside etcdt.h. */
#ifndef EHTTPT_H
#define EHTTPT_H

#include "etcdt.h"

/* Opens etcd+http://127.0.0.1:PORT/PATH. */
fw_kv *ehttpt_open(int port, const char *path, unsigned timeout_ms);

/* 1 if the key is there, else 0; asks until the store answers, which may take a restarted server a
 * while. */
size_t ehttpt_count(fw_kv *kv, const char *key);

/* Runs the server under another port, where the client cannot reach it and the test can. */
void ehttpt_restart_at(fwt_etcd *etcd, int port);

/* Compacts the server's history up to its present revision. */
void ehttpt_compact(int port);

/* Certificates in a directory of their own: ca, server (127.0.0.1, localhost), client, elsewhere
 * (another host), stranger (another authority), each with .pem and .key. */
void ehttpt_make_certificates(void);
/* "<directory>/<name>"; one of a few static buffers. */
const char *ehttpt_file(const char *name);
/* An etcd that speaks TLS to its clients; with_client_certs: and wants theirs. */
void ehttpt_start_tls(fwt_etcd *etcd, const char *certificate, bool with_client_certs);

/* Makes root:secret, and user:word who may read and write below /p, and switches users on. */
void ehttpt_enable_users(int port);
fw_kv *ehttpt_open_as(int port, const char *user, const char *password, unsigned timeout_ms);

#endif
