/* What the tests of the driver for etcd's JSON gateway share, beside etcdt.h. */
#ifndef EHTTPT_H
#define EHTTPT_H

#include "etcdt.h"

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
