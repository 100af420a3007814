/*
 * Keys as paths. ZooKeeper keeps paths as UTF-16 and refuses control characters, surrogates (so
 * everything beyond the basic plane), the private use area, U+FFF0 and up, and the parts "." and
 * "..": such bytes are percent-encoded, and so is '%' itself, one way only. A name is read
 * only if that way leads back to it; what others have put there under other names is left alone.
 * So a '%' that ends a name cannot come from a key: it marks the pair under a lease.
 */
#include "names.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

static const char hex_digits[] = "0123456789ABCDEF";

/* The length of the character at text that may stand as it is; 0: its first byte is encoded. */
static size_t plain_length(const uint8_t *text, size_t len)
{
    uint8_t c = text[0];
    if (c < 0x80)
        return c >= 0x20 && c < 0x7f && c != '%';
    size_t size = c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : 0;
    if (!size || len < size)
        return 0;
    unsigned code = c & (size == 2 ? 0x1fu : 0x0fu);
    for (size_t i = 1; i < size; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (text[i] & 0x3fu);
    }
    bool allowed = (size == 2 && code >= 0xa0) || (size == 3 && code >= 0x800 && code < 0xd800) ||
                   (code >= 0xf900 && code < 0xfff0);
    return allowed ? size : 0;
}

/* Encodes one part of a key to out (3 * len bytes suffice): the length. */
static size_t encode(const char *part, size_t len, bool at_top, char *out)
{
    static const char reserved[] = "zookeeper"; /* the server's own, below "/" */
    bool dots = (len == 1 || len == 2) && part[0] == '.' && part[len - 1] == '.';
    bool first = dots || (at_top && len == sizeof reserved - 1 && !memcmp(part, reserved, len));
    size_t n = 0;
    for (size_t i = 0; i < len;) {
        size_t plain = first && !i ? 0 : plain_length((const uint8_t *)part + i, len - i);
        if (plain) {
            memcpy(out + n, part + i, plain);
            n += plain;
            i += plain;
        } else {
            uint8_t byte = (uint8_t)part[i++];
            out[n++] = '%';
            out[n++] = hex_digits[byte >> 4];
            out[n++] = hex_digits[byte & 15];
        }
    }
    return n;
}

char *fwi_zk_path(const char *root, const char *key)
{
    size_t root_len = strlen(root), len = strlen(key);
    char *path = malloc(root_len + 3 * len + 3);
    if (!path)
        return NULL;
    memcpy(path, root, root_len);
    size_t n = root_len;
    for (const char *part = key; *part;) {
        size_t part_len = strcspn(part, "/");
        path[n++] = '/';
        n += encode(part, part_len, n == 1, path + n);
        part += part_len + (part[part_len] == '/');
    }
    if (!n)
        path[n++] = '/';
    path[n] = 0;
    return path;
}

char *fwi_zk_leased_path(const char *path)
{
    size_t len = strlen(path);
    char *leased = malloc(len + 2);
    if (!leased)
        return NULL;
    memcpy(leased, path, len);
    leased[len] = '%';
    leased[len + 1] = 0;
    return leased;
}

char *fwi_zk_child(const char *directory, const char *name)
{
    size_t len = strlen(directory), name_len = strlen(name);
    if (len == 1)
        len = 0; /* "/" */
    char *path = malloc(len + name_len + 2);
    if (!path)
        return NULL;
    memcpy(path, directory, len);
    path[len] = '/';
    memcpy(path + len + 1, name, name_len + 1);
    return path;
}

char *fwi_zk_key_below(const char *key, const char *part)
{
    size_t len = strlen(key), part_len = strlen(part);
    char *below = malloc(len + part_len + 2);
    if (!below)
        return NULL;
    memcpy(below, key, len);
    if (len)
        below[len++] = '/';
    memcpy(below + len, part, part_len + 1);
    return below;
}

static int hex_value(char c)
{
    const char *digit = c ? strchr(hex_digits, c) : NULL;
    return digit ? (int)(digit - hex_digits) : -1;
}

int fwi_zk_part(const char *name, bool at_top, char *ret_part, bool *ret_leased)
{
    size_t len = strlen(name), n = 0;
    *ret_leased = len && name[len - 1] == '%';
    len -= *ret_leased;
    for (size_t i = 0; i < len; i++) {
        if (name[i] != '%') {
            ret_part[n++] = name[i];
            continue;
        }
        int high = i + 2 < len + 1 ? hex_value(name[i + 1]) : -1;
        int low = high >= 0 && i + 2 < len ? hex_value(name[i + 2]) : -1;
        if (low < 0)
            return -1;
        char byte = (char)(high << 4 | low);
        if (!byte || byte == '/')
            return -1;
        ret_part[n++] = byte;
        i += 2;
    }
    ret_part[n] = 0;
    char again[3 * FW_KV_MAX_KEY_BYTES];
    if (!n || n > FW_KV_MAX_KEY_BYTES || encode(ret_part, n, at_top, again) != len ||
        memcmp(again, name, len))
        return -1;
    return (int)n;
}

bool fwi_zk_value(const char *data, int len, fw_slice *ret_value)
{
    *ret_value = (fw_slice){NULL, 0};
    if (len < 0 || (len == 1 && data[0] == FWI_ZK_MARKER))
        return false;
    bool escaped = len > 1 && data[0] == FWI_ZK_MARKER && data[1] == FWI_ZK_MARKER;
    if (len)
        *ret_value = (fw_slice){data + escaped, (size_t)len - escaped};
    return true;
}

int fwi_zk_data(fw_slice value, char **ret_data, size_t *ret_len)
{
    *ret_data = NULL;
    *ret_len = value.len;
    if (!value.len || ((const char *)value.data)[0] != FWI_ZK_MARKER)
        return FW_OK;
    char *data = malloc(value.len + 1);
    if (!data)
        return UV_ENOMEM;
    data[0] = FWI_ZK_MARKER;
    memcpy(data + 1, value.data, value.len);
    *ret_data = data;
    *ret_len = value.len + 1;
    return FW_OK;
}
