#include "proto/media_type.h"

#define KEY_BYTES 16

/* Text is UTF-8 by now. JavaScript: RFC 9239. */
#define MEDIA_TYPE_LIST(X)                                                                 \
    X("html", "text/html; charset=utf-8")                                                  \
    X("htm", "text/html; charset=utf-8")                                                   \
    X("css", "text/css; charset=utf-8")                                                    \
    X("js", "text/javascript; charset=utf-8")                                              \
    X("mjs", "text/javascript; charset=utf-8")                                             \
    X("json", "application/json")                                                          \
    X("map", "application/json")                                                           \
    X("png", "image/png")                                                                  \
    X("jpg", "image/jpeg")                                                                 \
    X("jpeg", "image/jpeg")                                                                \
    X("gif", "image/gif")                                                                  \
    X("webp", "image/webp")                                                                \
    X("avif", "image/avif")                                                                \
    X("svg", "image/svg+xml")                                                              \
    X("ico", "image/x-icon")                                                               \
    X("woff2", "font/woff2")                                                               \
    X("woff", "font/woff")                                                                 \
    X("ttf", "font/ttf")                                                                   \
    X("otf", "font/otf")                                                                   \
    X("eot", "application/vnd.ms-fontobject")                                              \
    X("txt", "text/plain; charset=utf-8")                                                  \
    X("log", "text/plain; charset=utf-8")                                                  \
    X("md", "text/markdown; charset=utf-8")                                                \
    X("csv", "text/csv; charset=utf-8")                                                    \
    X("tsv", "text/tab-separated-values; charset=utf-8")                                   \
    X("xml", "text/xml; charset=utf-8")                                                    \
    X("vtt", "text/vtt; charset=utf-8")                                                    \
    X("ics", "text/calendar; charset=utf-8")                                               \
    X("vcf", "text/vcard; charset=utf-8")                                                  \
    X("xhtml", "application/xhtml+xml")                                                    \
    X("rss", "application/rss+xml")                                                        \
    X("atom", "application/atom+xml")                                                      \
    X("webmanifest", "application/manifest+json")                                          \
    X("jsonld", "application/ld+json")                                                     \
    X("geojson", "application/geo+json")                                                   \
    X("ndjson", "application/x-ndjson")                                                    \
    X("yaml", "application/yaml")                                                          \
    X("yml", "application/yaml")                                                           \
    X("toml", "application/toml")                                                          \
    X("wasm", "application/wasm")                                                          \
    X("pdf", "application/pdf")                                                            \
    X("rtf", "application/rtf")                                                            \
    X("epub", "application/epub+zip")                                                      \
    X("doc", "application/msword")                                                         \
    X("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document")   \
    X("xls", "application/vnd.ms-excel")                                                   \
    X("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet")         \
    X("ppt", "application/vnd.ms-powerpoint")                                              \
    X("pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation") \
    X("odt", "application/vnd.oasis.opendocument.text")                                    \
    X("ods", "application/vnd.oasis.opendocument.spreadsheet")                             \
    X("zip", "application/zip")                                                            \
    X("gz", "application/gzip")                                                            \
    X("tgz", "application/gzip")                                                           \
    X("zst", "application/zstd")                                                           \
    X("tar", "application/x-tar")                                                          \
    X("bz2", "application/x-bzip2")                                                        \
    X("xz", "application/x-xz")                                                            \
    X("7z", "application/x-7z-compressed")                                                 \
    X("rar", "application/vnd.rar")                                                        \
    X("jar", "application/java-archive")                                                   \
    X("apk", "application/vnd.android.package-archive")                                    \
    X("deb", "application/vnd.debian.binary-package")                                      \
    X("iso", "application/x-iso9660-image")                                                \
    X("bin", "application/octet-stream")                                                   \
    X("exe", "application/octet-stream")                                                   \
    X("mp3", "audio/mpeg")                                                                 \
    X("m4a", "audio/mp4")                                                                  \
    X("aac", "audio/aac")                                                                  \
    X("ogg", "audio/ogg")                                                                  \
    X("oga", "audio/ogg")                                                                  \
    X("opus", "audio/ogg")                                                                 \
    X("flac", "audio/flac")                                                                \
    X("wav", "audio/wav")                                                                  \
    X("weba", "audio/webm")                                                                \
    X("mid", "audio/midi")                                                                 \
    X("mp4", "video/mp4")                                                                  \
    X("m4v", "video/mp4")                                                                  \
    X("mpeg", "video/mpeg")                                                                \
    X("webm", "video/webm")                                                                \
    X("ogv", "video/ogg")                                                                  \
    X("mov", "video/quicktime")                                                            \
    X("avi", "video/x-msvideo")                                                            \
    X("ts", "video/mp2t")                                                                  \
    X("m3u8", "application/vnd.apple.mpegurl")                                             \
    X("mpd", "application/dash+xml")                                                       \
    X("bmp", "image/bmp")                                                                  \
    X("tif", "image/tiff")                                                                 \
    X("tiff", "image/tiff")                                                                \
    X("heic", "image/heic")                                                                \
    X("jxl", "image/jxl")                                                                  \
    X("gltf", "model/gltf+json")                                                           \
    X("glb", "model/gltf-binary")

static const struct media_type {
    char key[KEY_BYTES];
    struct bytes type;
} types[] = {
#define X(extension, type) { extension, { type, sizeof(type) - 1 } },
    MEDIA_TYPE_LIST(X)
#undef X
};

struct bytes media_type_of(struct bytes extension)
{
    char key[KEY_BYTES] = { 0 };
    if (!extension.len || extension.len >= KEY_BYTES)
        return BYTES_NONE;
    for (size_t i = 0; i < extension.len; i++)
        key[i] = ascii_lower(extension.ptr[i]);
    for (unsigned i = 0; i < sizeof types / sizeof *types; i++) {
        if (memcmp(types[i].key, key, KEY_BYTES) == 0)
            return types[i].type;
    }
    return BYTES_NONE;
}
