/* Who may ask what. A token makes one free to change things; without a token_file a unix socket does (its
 * file's mode decides who may connect), and a TCP address only shows. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "admin/call.h"
#include "base/file_read.h"
#include "base/mem.h"
#include "gate/carrier.h"

#define TOKEN_FILE_BYTES_MAX (32 * 1024)

/* In a time that does not tell how much of it was right. */
static bool same_secret(struct bytes a, struct bytes b)
{
    unsigned char differs = a.len != b.len;
    for (size_t i = 0; i < a.len; i++)
        differs |= (unsigned char)(a.ptr[i] ^ (b.len ? b.ptr[i % b.len] : 1));
    return differs == 0;
}

/* A line is a token, or name:token; # begins a comment. */
static bool find_token(struct bytes file, struct bytes token, struct bytes *ret_name)
{
    bool found = false;
    struct bytes line;
    while (bytes_split(&file, '\n', &line)) {
        line = bytes_trim(line);
        if (line.len && line.ptr[line.len - 1] == '\r')
            line.len--;
        if (!line.len || line.ptr[0] == '#')
            continue;
        size_t colon = bytes_index(line, ':');
        struct bytes name = colon < line.len ? (struct bytes){ line.ptr, colon } : BYTES_NONE;
        struct bytes secret = colon < line.len ? bytes_skip(line, colon + 1) : line;
        if (secret.len && same_secret(secret, token)) {
            *ret_name = name;
            found = true;
        }
    }
    return found;
}

/* Read each time: a token that was taken out is of no use at once. */
static bool token_is_known(struct bytes path, struct bytes token, char author[ORIGIN_WORD_BYTES_MAX])
{
    struct bytes name = BYTES_NONE;
    struct bytes text;
    if (file_read_whole(path.ptr, TOKEN_FILE_BYTES_MAX, &text, NULL))
        return false;
    const bool known = find_token(text, token, &name);
    if (known)
        snprintf(author, ORIGIN_WORD_BYTES_MAX, "admin%s%.*s", name.len ? " " : "",
                 (int)(name.len < 64 ? name.len : 64), name.ptr ? name.ptr : "");
    file_read_free(text);
    return known;
}

static bool bearer(const struct exchange *x, struct bytes *ret_token)
{
    const struct http_field *f = http_fields_find(&x->request.fields, BYTES("authorization"));
    struct bytes value = f ? http_field_value(f) : BYTES_NONE;
    if (value.len < 7 || !bytes_eq_nocase((struct bytes){ value.ptr, 7 }, BYTES("bearer ")))
        return false;
    *ret_token = bytes_trim(bytes_skip(value, 7));
    return true;
}

enum admin_right auth_right(struct call *c, const char **ret_why)
{
    struct exchange *x = c->x;
    char *author = c->author;
    const struct api_conf *conf = c->api->conf(x);
    bool local = x->client && x->client->sock.any.sa_family == AF_UNIX;
    struct ucred peer;
    socklen_t size = sizeof peer;
    struct bytes token;
    snprintf(author, ORIGIN_WORD_BYTES_MAX, "admin");
    if (local && getsockopt(exchange_client_fd(x), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0)
        snprintf(author, ORIGIN_WORD_BYTES_MAX, "uid %u (pid %d)", peer.uid, (int)peer.pid);
    if (!conf) {
        *ret_why = "the configuration in force has no such address any more";
        return RIGHT_NONE;
    }
    if (!conf->token_file.len) {
        *ret_why = "without a token_file this address only shows; a unix socket can do more";
        return local ? RIGHT_CHANGE : RIGHT_READ;
    }
    if (!bearer(x, &token)) {
        *ret_why = "a token is needed: Authorization: Bearer TOKEN";
        return conf->read_without_token ? RIGHT_READ : RIGHT_NONE;
    }
    *ret_why = "that token is not in the token_file";
    return token_is_known(conf->token_file, token, author) ? RIGHT_CHANGE : RIGHT_NONE;
}
