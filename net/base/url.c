#include <fairway/url.h>

#include <ctype.h>
#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Copies [from, to) with percent-encoding decoded; NUL bytes are refused. */
static int decode(const char *from, const char *to, char **ret_text)
{
    char *text = malloc((size_t)(to - from) + 1), *out = text;
    if (!text)
        return UV_ENOMEM;
    for (; from < to; from++) {
        if (*from != '%') {
            *out++ = *from;
            continue;
        }
        int high = to - from > 2 ? hex_digit(from[1]) : -1,
            low = high < 0 ? -1 : hex_digit(from[2]);
        if (low < 0 || (high | low) == 0) {
            free(text);
            return FW_EURL;
        }
        *out++ = (char)(high << 4 | low);
        from += 2;
    }
    *out = 0;
    *ret_text = text;
    return FW_OK;
}

static int parse_port(const char *from, const char *to, int *ret_port)
{
    int port = 0;
    if (from == to)
        return FW_EURL;
    for (; from < to; from++) {
        if (!isdigit((unsigned char)*from))
            return FW_EURL;
        port = port * 10 + (*from - '0');
        if (port > 65535)
            return FW_EURL;
    }
    *ret_port = port;
    return FW_OK;
}

static int parse_host(fw_url *url, const char *from, const char *to)
{
    fw_url_host *hosts = realloc(url->hosts, (url->host_count + 1) * sizeof *hosts);
    if (!hosts)
        return UV_ENOMEM;
    url->hosts = hosts;
    const char *name = from, *name_end = to, *port = NULL;
    if (from < to && *from == '[') {
        name++;
        name_end = memchr(from, ']', (size_t)(to - from));
        if (!name_end)
            return FW_EURL;
        if (name_end + 1 < to) {
            if (name_end[1] != ':')
                return FW_EURL;
            port = name_end + 2;
        }
    } else {
        const char *colon = memchr(from, ':', (size_t)(to - from));
        if (colon) {
            if (memchr(colon + 1, ':', (size_t)(to - colon - 1)))
                return FW_EURL; /* an IPv6 address needs its brackets */
            name_end = colon;
            port = colon + 1;
        }
    }
    fw_url_host host = {.port = 0};
    int err = port ? parse_port(port, to, &host.port) : FW_OK;
    if (!err)
        err = decode(name, name_end, &host.name);
    if (!err)
        url->hosts[url->host_count++] = host;
    return err;
}

static int parse_authority(fw_url *url, const char *from, const char *to)
{
    const char *at = memchr(from, '@', (size_t)(to - from));
    if (at) {
        if (memchr(from, ':', (size_t)(at - from)))
            return FW_EURL; /* a password */
        int err = decode(from, at, &url->user);
        if (err)
            return err;
        from = at + 1;
    }
    while (from < to) {
        const char *comma = memchr(from, ',', (size_t)(to - from)), *end = comma ? comma : to;
        if (from == end)
            return FW_EURL;
        int err = parse_host(url, from, end);
        if (err)
            return err;
        if (comma && comma + 1 == to)
            return FW_EURL;
        from = comma ? comma + 1 : to;
    }
    return FW_OK;
}

static int parse_query(fw_url *url, const char *from)
{
    while (*from) {
        const char *end = from + strcspn(from, "&");
        const char *equals = memchr(from, '=', (size_t)(end - from));
        if (!equals || equals == from)
            return FW_EURL;
        fw_url_param *params = realloc(url->params, (url->param_count + 1) * sizeof *params);
        if (!params)
            return UV_ENOMEM;
        url->params = params;
        fw_url_param param = {.name = NULL};
        int err = decode(from, equals, &param.name);
        if (err)
            return err;
        err = decode(equals + 1, end, &param.value);
        if (err) {
            free(param.name);
            return err;
        }
        url->params[url->param_count++] = param;
        from = *end ? end + 1 : end;
    }
    return FW_OK;
}

int fw_url_init(fw_url *ret_url, const char *text)
{
    fw_url url = {.host_count = 0};
    const char *colon = strchr(text, ':');
    if (!colon || colon == text)
        return FW_EURL;
    for (const char *p = text; p < colon; p++)
        if (!isalnum((unsigned char)*p) && !strchr("+-.", *p))
            return FW_EURL;
    int err = decode(text, colon, &url.scheme);
    if (err)
        return err;
    const char *p = colon + 1;
    if (p[0] == '/' && p[1] == '/') {
        const char *end = p + 2 + strcspn(p + 2, "/?");
        err = parse_authority(&url, p + 2, end);
        p = end;
    }
    const char *path_end = p + strcspn(p, "?");
    if (!err)
        err = decode(p, path_end, &url.path);
    if (!err && *path_end == '?')
        err = parse_query(&url, path_end + 1);
    if (err) {
        fw_url_fini(&url);
        return err;
    }
    *ret_url = url;
    return FW_OK;
}

void fw_url_fini(fw_url *url)
{
    free(url->scheme);
    free(url->user);
    for (size_t i = 0; i < url->host_count; i++)
        free(url->hosts[i].name);
    free(url->hosts);
    free(url->path);
    for (size_t i = 0; i < url->param_count; i++) {
        free(url->params[i].name);
        free(url->params[i].value);
    }
    free(url->params);
    *url = (fw_url){.host_count = 0};
}

const char *fw_url_get(const fw_url *url, const char *name)
{
    for (size_t i = 0; i < url->param_count; i++)
        if (!strcmp(url->params[i].name, name))
            return url->params[i].value;
    return NULL;
}
