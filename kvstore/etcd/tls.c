/*
 * Certificates: read and checked (kvstore/etcd_core/pem.c) when the store is opened, and read again
 * when an endpoint has failed and a file has changed since: the endpoint gets a new channel then
 * (see fwi_etcd_endpoint_failed). So renewed certificates are picked up when the old ones are no
 * longer good. If what is there now cannot be used (somebody is just writing it), the old ones
 * stay.
 */
#include "etcd.h"

#include <fairway/error.h>
#include <grpc/grpc_security.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <uv.h>

/* Which version of the file is there now; zeros if it cannot be told. */
static fwi_etcd_file_id id_of(const char *path)
{
    struct stat status;
    if (!path || stat(path, &status))
        return (fwi_etcd_file_id){.size = 0};
    return (fwi_etcd_file_id){
        .inode = status.st_ino, .size = status.st_size, .modified = status.st_mtim};
}

/* Reads all files, and takes them over if all of them are good. */
static int load(fwi_etcd_tls *tls, char *ret_detail)
{
    /* Before the files are read: what is written meanwhile is seen to differ next time. */
    fwi_etcd_file_id cacert = id_of(tls->cacert.path), cert = id_of(tls->cert.path),
                     key = id_of(tls->key.path);
    fwi_ec_pems texts;
    int err = fwi_ec_pems_read(tls->cacert.path, tls->cert.path, tls->key.path, &texts, ret_detail);
    if (err)
        return err;
    fwi_ec_pems_fini(&tls->texts);
    tls->texts = texts;
    tls->cacert.id = cacert;
    tls->cert.id = cert;
    tls->key.id = key;
    tls->generation++;
    return FW_OK;
}

static bool has_changed(const fwi_etcd_file *file)
{
    fwi_etcd_file_id now = id_of(file->path);
    if (!now.inode)
        return false;
    return now.inode != file->id.inode || now.size != file->id.size ||
           now.modified.tv_sec != file->id.modified.tv_sec ||
           now.modified.tv_nsec != file->id.modified.tv_nsec;
}

void fwi_etcd_tls_refresh(fwi_etcd_tls *tls)
{
    char detail[FWI_EC_PEM_DETAIL_BYTES];
    if (has_changed(&tls->cacert) || has_changed(&tls->cert) || has_changed(&tls->key))
        (void)load(tls, detail);
}

static bool copy_path(const char *from, fwi_etcd_file *file)
{
    file->path = from ? strdup(from) : NULL;
    return !from || file->path;
}

int fwi_etcd_tls_init(fwi_etcd_client *client, const fwi_kv_access *access)
{
    fwi_etcd_tls *tls = &client->tls;
    char detail[FWI_EC_PEM_DETAIL_BYTES];
    tls->wanted = true;
    if (!copy_path(access->cacert, &tls->cacert) || !copy_path(access->cert, &tls->cert) ||
        !copy_path(access->key, &tls->key))
        return UV_ENOMEM;
    int err = load(tls, detail);
    return err ? fwi_kv_open_failed(client->core.kv, err, "%s", detail) : FW_OK;
}

void fwi_etcd_tls_fini(fwi_etcd_tls *tls)
{
    free(tls->cacert.path);
    free(tls->cert.path);
    free(tls->key.path);
    fwi_ec_pems_fini(&tls->texts);
}

grpc_channel_credentials *fwi_etcd_tls_credentials(const fwi_etcd_tls *tls)
{
    if (!tls->wanted)
        return grpc_insecure_credentials_create();
    const fwi_ec_pems *texts = &tls->texts;
    grpc_ssl_pem_key_cert_pair pair = {.private_key = texts->key, .cert_chain = texts->cert};
    return grpc_ssl_credentials_create_ex(texts->cacert, texts->cert ? &pair : NULL, NULL, NULL);
}
