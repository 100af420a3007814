/*
 * URLs as fairway uses them:
 * `scheme:[//[user[:password]@]host[:port][,host[:port]...]][/path][?k=v&...]`. A password in a URL
 * is refused (FW_EURL): it would show in process lists; credentials come from files, the
 * environment or options. Percent-encoding is decoded in path, user, keys and values.
 */
#ifndef FAIRWAY_URL_H
#define FAIRWAY_URL_H

#include <fairway/base.h>

FW_BEGIN_DECLS

typedef struct fw_url_host {
    char *name; /* without brackets for IPv6; may be empty */
    int port;   /* 0 when absent */
} fw_url_host;

typedef struct fw_url_param {
    char *name;
    char *value;
} fw_url_param;

typedef struct fw_url {
    char *scheme;
    char *user; /* NULL when absent */
    fw_url_host *hosts;
    size_t host_count;
    char *path; /* with its leading slash; empty when absent */
    fw_url_param *params;
    size_t param_count;
} fw_url;

/* Parses text into *ret_url, to be ended with fw_url_fini. FW_EURL, UV_ENOMEM. Any thread. */
FW_API FW_MUST_CHECK int fw_url_init(fw_url *ret_url, const char *text);
FW_API void fw_url_fini(fw_url *url);

/* Value of a query parameter, or NULL. Borrowed from the URL. */
FW_API const char *fw_url_get(const fw_url *url, const char *name);

FW_END_DECLS

#endif
