"""What gunicorn, uvicorn, hypercorn, granian, waitress, uWSGI, Flask and Django call their settings, and what to write
here instead: users who know one of them write its names more often than misspelt ones of greenserve.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Instead:
    """What stands in the place of another server's setting: an option, with a value; or an explanation alone."""

    option: str = ""
    value: str = ""
    note: str = ""


_REUSE_PORT = Instead(note="the workers share their listening sockets, and each has its share: leave it out")
_CONCURRENCY = Instead("concurrency", "N", "a request in progress is a green thread, not a thread")
_TLS = Instead("tls_context", "MODULE:FUNCTION", "for what the other tls_ options do not say")
_HANDSHAKES = Instead(
    note="a handshake holds up no other client, and a missing close_notify does no harm: leave it out"
)
_RELOAD = Instead("reload", "true", "for development")
_RELOAD_TIMES = Instead(note="reload waits until files do not change any more, and for nothing else: leave it out")
_ONE_KIND = Instead(note="there is one kind of worker, of green threads: leave it out")
_ONE_PROTOCOL = Instead(note="greenserve speaks HTTP/1.1 and WebSocket, and serves WSGI, by itself: leave it out")
_SUPERVISOR = Instead(note="greenserve stays in the foreground: systemd, Docker or another supervisor does this")
_ENVIRONMENT = Instead("env_file", "FILE", "or set variables in the shell, in systemd or in Docker")
_PYTHONPATH = Instead("chdir", "DIR", "its modules are found there; PYTHONPATH is for further directories")
_FACTORY = Instead(note="write the call into APP: module:make_app()")
_PROXIES = Instead(
    "trusted_proxies", "10.0.0.0/8", "what they say of the client is believed, up to the first other one"
)
_FORWARDED = Instead("forwarded_headers", "x-forwarded-for,x-forwarded-proto")
_PREFIX = Instead(
    note="the proxy in front, which takes the prefix away, sends it as X-Forwarded-Prefix; or mount the application "
    "under it, e.g. by werkzeug's DispatcherMiddleware"
)
_OWN_LOG = Instead(note="greenserve's own log goes to standard error, as the shell or the supervisor directs it")
_LOGGING = Instead(note="greenserve logs by `logging`, through the logger greenserve: configure it in the application")
_SERVER_HEADER = Instead("server_header", "TEXT", "or off, for no such field")
_BUFFERS = Instead(note="greenserve needs no tuning of its buffers and loops: leave it out")
_STATIC = Instead("static", "/PREFIX=DIR")
_METRICS = Instead(note="greenserve does not export figures: leave it out")
_HEAD = Instead("max_head", "SIZE")
_NO_WHOLE_TIMEOUT = Instead(
    note="a whole request has no limit, because a slow one does not hold up others; header_timeout, body_timeout and "
    "write_timeout are for slow clients"
)


def _each(instead: Instead, names: str) -> dict[str, Instead]:
    return dict.fromkeys(names.split(), instead)


WORDS: dict[str, Instead] = {
    **_each(Instead("bind", "HOST:PORT"), "host port listen http_socket address addr"),
    **_each(Instead("bind", "unix:PATH"), "uds unix_socket socket"),
    **_each(Instead("bind", "fd://N"), "fd"),
    **_each(Instead("socket_mode", "660"), "unix_socket_perms uds_permissions chmod_socket"),
    **_each(Instead("umask", "007"), "m"),
    **_each(Instead("socket_user", "NAME"), "chown_socket"),
    **_each(_CONCURRENCY, "threads worker_connections blocking_threads"),
    **_each(Instead("max_connections", "N"), "connection_limit limit_concurrency"),
    **_each(_CONCURRENCY, "runtime_threads runtime_blocking_threads backpressure gevent"),
    **_each(Instead("pid_file", "PATH"), "pid pidfile"),
    **_each(Instead("user", "NAME"), "u uid"),
    **_each(Instead("group", "NAME"), "g gid"),
    **_each(Instead(note="user brings its groups along: leave it out"), "initgroups"),
    **_each(Instead("workers", "N", "or the variable WEB_CONCURRENCY"), "processes web_concurrency"),
    **_each(_REUSE_PORT, "reuse_port"),
    **_each(_RELOAD, "py_autoreload autoreload use_reloader fs_brutal_reload"),
    **_each(Instead(note="reload uses watchfiles where it is installed: leave it out"), "reload_engine reloader_type"),
    **_each(
        Instead("reload_include", "GLOB"), "reload_extra_file reload_extra_files extra_files touch_reload fs_reload"
    ),
    **_each(Instead("reload_include", "GLOB"), "reload_includes"),
    **_each(Instead("reload_exclude", "GLOB"), "reload_excludes reload_ignore_patterns exclude_patterns"),
    **_each(Instead("reload_exclude", "DIR"), "reload_ignore_dirs reload_ignore_paths"),
    **_each(Instead("reload_dir", "DIR"), "reload_dirs reload_paths"),
    **_each(Instead("reload", "false"), "noreload"),
    **_each(_RELOAD_TIMES, "reload_delay reload_tick reload_ignore_worker_failure"),
    **_each(Instead(note="debuggers are WSGI applications: put werkzeug.debug's around yours"), "debugger"),
    **_each(Instead("tls_cert", "FILE"), "certfile ssl_certfile ssl_certificate cert ssl"),
    **_each(Instead("tls_key", "FILE"), "keyfile ssl_keyfile key"),
    **_each(Instead("tls_key_password_file", "FILE"), "keyfile_password ssl_keyfile_password"),
    **_each(Instead("tls_client_ca", "FILE"), "ca_certs ssl_ca_certs ssl_ca"),
    **_each(Instead("tls_client_verify", "required"), "cert_reqs verify_mode ssl_cert_reqs ssl_client_verify"),
    **_each(Instead("tls_ciphers", "CIPHERS"), "ciphers ssl_ciphers"),
    **_each(Instead("tls_min_version", "1.3"), "ssl_version ssl_protocol_min"),
    **_each(Instead("redirect_https", "HOST:80"), "http_to_https"),
    **_each(Instead("bind", "https://HOST:PORT"), "https"),
    **_each(Instead("bind", "http://HOST:PORT"), "insecure_bind"),
    **_each(Instead(note="greenserve speaks HTTP/1.1, and no HTTP/3: leave it out"), "quic_bind"),
    **_each(_HANDSHAKES, "do_handshake_on_connect suppress_ragged_eofs"),
    **_each(_ONE_KIND, "k worker_class loop asgi_loop runtime_mode task_impl master"),
    **_each(_ONE_KIND, "enable_threads single_interpreter"),
    **_each(_ONE_PROTOCOL, "http ws interface wsgi asgi lifespan asgi_lifespan protocol http2 http_protocols"),
    **_each(_ONE_PROTOCOL, "http_parser websockets http1_keep_alive"),
    **_each(Instead("max_requests", "N"), "limit_max_requests"),
    **_each(Instead("max_requests_jitter", "N"), "limit_max_requests_jitter"),
    **_each(Instead("max_worker_age", "SECONDS"), "workers_lifetime max_worker_lifetime"),
    **_each(Instead("max_worker_memory", "SIZE"), "workers_max_rss reload_on_rss"),
    **_each(Instead(note="a worker that dies has a successor at once: leave it out"), "respawn_failed_workers"),
    **_each(Instead(note="workers that die again and again are started ever more slowly"), "respawn_interval"),
    **_each(Instead("preload", "false"), "lazy_apps"),
    **_each(Instead("preload", "true", "which is so by default"), "preload_app"),
    **_each(_SUPERVISOR, "daemon d daemonize n name proc_name"),
    **_each(_SUPERVISOR, "process_name"),
    **_each(_ENVIRONMENT, "e env raw_env env_files"),
    **_each(_PYTHONPATH, "pythonpath app_dir working_dir"),
    **_each(_FACTORY, "factory call"),
    **_each(Instead(note="write it as APP: module:attribute"), "app module wsgi_file wsgi_app callable"),
    **_each(_PROXIES, "forwarded_allow_ips proxy_allow_from proxy_allow_ips trusted_proxy trusted_proxy_count"),
    **_each(_FORWARDED, "trusted_proxy_headers forwarder_headers secure_scheme_headers"),
    **_each(Instead("trusted_proxies", "none", "without a proxy; else nothing"), "proxy_headers"),
    **_each(Instead(note="a trusted proxy says it, by X-Forwarded-Proto"), "url_scheme"),
    **_each(Instead(note="greenserve does so: leave it out"), "clear_untrusted_proxy_headers"),
    **_each(_PREFIX, "root_path url_prefix url_path_prefix mount script_name"),
    **_each(Instead("access_log", "FILE"), "access_logfile accesslog"),
    **_each(
        Instead("access_log_format", "FORMAT", "Apache's and gunicorn's directives are known"),
        "access_logformat access_log_fmt logformat",
    ),
    **_each(Instead(note="there is no access log unless --access-log names a file: leave it out"), "no_access_log"),
    **_each(_OWN_LOG, "error_logfile error_log errorlog log_file logto log_syslog log_syslog_to"),
    **_each(_LOGGING, "log_config log_config_json logconfig logger_class log use_colors capture_output"),
    **_each(_LOGGING, "enable_stdio_inheritance r logconfig_dict logconfig_json"),
    **_each(Instead("access_log", "syslog:"), "syslog syslog_addr syslog_facility syslog_prefix"),
    **_each(Instead("log_level", "LEVEL"), "loglevel"),
    **_each(Instead("log_level", "debug"), "debug verbose spew"),
    **_each(_SERVER_HEADER, "ident server_name server_names"),
    **_each(Instead("server_header", "off"), "no_server_header"),
    **_each(Instead("header", '"NAME: VALUE"'), "headers add_header addheader"),
    **_each(_STATIC, "static_path_mount static_path_route static_map static_map2 static_root"),
    **_each(Instead("static_max_age", "SECONDS"), "static_path_expires static_expires"),
    **_each(Instead("static", "/=DIR"), "check_static"),
    **_each(
        Instead(note="Django's runserver alone has it; give the directory of collectstatic to static"),
        "insecure nostatic",
    ),
    **_each(_METRICS, "statsd_host statsd_prefix dogstatsd_tags metrics stats"),
    **_each(_BUFFERS, "worker_tmp_dir sendfile recv_bytes send_bytes outbuf_overflow inbuf_overflow"),
    **_each(_BUFFERS, "outbuf_high_watermark http1_buffer_size ws_max_queue buffer_size cleanup_interval"),
    **_each(_BUFFERS, "asyncore_loop_timeout asyncore_use_poll channel_request_lookahead"),
    **_each(_NO_WHOLE_TIMEOUT, "t timeout harakiri request_timeout"),
    **_each(Instead("keepalive_timeout", "SECONDS"), "keep_alive keepalive timeout_keep_alive"),
    **_each(
        Instead("max_requests_per_connection", "N"), "keepalive_requests keep_alive_max_requests max_keepalive_requests"
    ),
    **_each(Instead("graceful_timeout", "SECONDS"), "timeout_graceful_shutdown shutdown_timeout workers_kill_timeout"),
    **_each(Instead("header_timeout", "SECONDS"), "http1_header_read_timeout"),
    **_each(Instead("body_timeout", "SECONDS"), "read_timeout"),
    **_each(Instead("write_timeout", "SECONDS"), "channel_timeout socket_timeout"),
    **_each(Instead("max_target", "SIZE"), "limit_request_line"),
    **_each(Instead("max_header_count", "N"), "limit_request_fields"),
    **_each(_HEAD, "limit_request_field limit_request_field_size h11_max_incomplete_size"),
    **_each(_HEAD, "h11_max_incomplete_event_size max_request_header_size"),
    **_each(Instead("max_body", "SIZE"), "max_request_body_size limit_request_body limit_post"),
    **_each(Instead("ws_max_message", "SIZE"), "ws_max_size websocket_max_message_size"),
    **_each(Instead("ws_ping_interval", "SECONDS"), "websocket_ping_interval"),
    **_each(Instead("ws_compression", "true"), "ws_per_message_deflate"),
    **_each(Instead(note="`greenserve check APP` reports them"), "check_config print_config"),
    **_each(Instead(note="`greenserve --version` prints it"), "version v"),
}
"""By name, with `_` for `-`: what to write here. Short options stand under their letter, in lower case."""

_FAMILIES = {
    "http2_": _ONE_PROTOCOL,
    "ssl_": _TLS,
    "reload_": _RELOAD_TIMES,
    "metrics_": _METRICS,
    "static_path_": _STATIC,
    "dirty_": _ONE_KIND,
    "permit_": Instead(note="greenserve takes only what RFC 9112 allows: leave it out"),
}
"""By the beginning of a name that is not in WORDS."""


_GUNICORN = """
    access_log_format accesslog backlog bind ca_certs capture_output cert_reqs certfile chdir check_config ciphers
    config daemon default_proc_name disable_redirect_access_to_syslog do_handshake_on_connect dogstatsd_tags
    enable_stdio_inheritance errorlog forwarded_allow_ips forwarder_headers graceful_timeout group header_map initgroups
    keepalive keyfile limit_request_field_size limit_request_fields limit_request_line logconfig logconfig_dict
    logconfig_json logger_class loglevel max_requests max_requests_jitter paste permit_obsolete_folding
    permit_unconventional_http_method permit_unconventional_http_version pidfile preload_app print_config proc_name
    proxy_allow_ips proxy_protocol pythonpath raw_env raw_paste_global_conf reload reload_engine reload_extra_files
    reuse_port secure_scheme_headers sendfile spew ssl_version statsd_host statsd_prefix strip_header_spaces
    suppress_ragged_eofs syslog syslog_addr syslog_facility syslog_prefix threads timeout tmp_upload_dir umask user
    wsgi_app worker_class worker_connections worker_tmp_dir workers
"""
GUNICORN = frozenset(_GUNICORN.split())
"""The settings that its gunicorn.conf.py may hold beside hooks; those named as greenserve's own are among them."""


def advice(name: str, write: Callable[[str, str], str]) -> str | None:
    """What to write instead of `name`, an option of another server; None when none has it.

    write: how an option and a value are written in the place where `name` was found.
    """
    word = name.lstrip("-").replace("-", "_").lower()
    positive = word.removeprefix("no_")
    family = next((each for start, each in _FAMILIES.items() if positive.startswith(start)), None)
    instead = WORDS.get(word) or WORDS.get(positive) or family
    if instead is None:
        return None
    if not instead.option:
        return instead.note
    text = f"use {write(instead.option, instead.value)}"
    return f"{text} ({instead.note})" if instead.note else text
