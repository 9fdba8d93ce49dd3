/* jwt_vectors_test: tokens and key sets made by another implementation (Python's cryptography), for the
 * tests. The private keys are not kept. */
#pragma once

#define TOKEN_RS256                                                                              \
    "eyJhbGciOiAiUlMyNTYiLCAidHlwIjogIkpXVCIsICJraWQiOiAicnNhIn0.eyJpc3MiOiAibG9naW4iLCAic3ViIj" \
    "ogImFsaWNlIiwgImF1ZCI6IFsic2hvcCIsICJwYXkiXSwgImV4cCI6IDQxMDI0NDQ4MDAsICJpYXQiOiAxNzAwMDAw" \
    "MDAwLCAic2NvcGUiOiAicmVhZCB3cml0ZSIsICJyb2xlcyI6IFsiYWRtaW4iLCAiZGV2Il0sICJyZWFsbSI6IHsibi" \
    "I6IDcsICJvayI6IHRydWV9LCAiZXZpbCI6ICJhXG5iIn0.LzzMkRHWmtT2-z2hIDGqU5BEYYmF5cE-Qoa3PtGN-_4F" \
    "QP5FysWNZSbrWVKj-Ies5SoteR672CVfOMwr6KSdwa5L8lVltXOmxsCDxxbzq1hQrkU4avthf0jIaM3M5pdi1RdyVh" \
    "65j-1lNp1GNDhGbPuUmlKetLgDr0oONdBivUD9O4FC2aKHeAl_UcqeIukrEHjgc8s9pow6xAdm1E9P8Sg8hJ9ANI6H" \
    "bfD50Wh7dMNUZECjsJA2qEyw9liScjHAwb_BUSVDwklOhbai1drA-eM_m9bw_lHowkHU25Qm_QqSJnOcl0CnAHJsVh" \
    "iAmTzSN5PFdzU0g8zHDlsE26N0UQ"

#define TOKEN_RS384                                                                              \
    "eyJhbGciOiAiUlMzODQiLCAidHlwIjogIkpXVCIsICJraWQiOiAicnNhIn0.eyJpc3MiOiAibG9naW4iLCAic3ViIj" \
    "ogImFsaWNlIiwgImF1ZCI6IFsic2hvcCIsICJwYXkiXSwgImV4cCI6IDQxMDI0NDQ4MDAsICJpYXQiOiAxNzAwMDAw" \
    "MDAwLCAic2NvcGUiOiAicmVhZCB3cml0ZSIsICJyb2xlcyI6IFsiYWRtaW4iLCAiZGV2Il0sICJyZWFsbSI6IHsibi" \
    "I6IDcsICJvayI6IHRydWV9LCAiZXZpbCI6ICJhXG5iIn0.WepPx0S_f3SCAuORzjhPwuBjVZTNw5k5IHvWQTFt55qJ" \
    "OYdMdGSKd68ZXHMH04qwf4LF1lwyn6DTccybyMw_HbfvHgKYoJypiPR1MsKHSVCLvpF2RPyO374tjX4XEshZ70LQZq" \
    "g5u8yNlNC0aV3x-vGifVMC3rCs0c7o7qrAPrKHdpTxdbXb_nJDhZWvM9BlLIlJzig6n8x16k9gXzWGkKQOIfKT2Q4O" \
    "oxmak3hRqtu0HhPVWKa71TIB9njaoYf07fd1pduzSkLpbzEogohrh6WDXqUownuKh0lc8OHvbfiCCdFZruQKen8Iu5" \
    "u7j52-XKOaSCnVH8DUPS3MnHNXNg"

#define TOKEN_RS512                                                                              \
    "eyJhbGciOiAiUlM1MTIiLCAidHlwIjogIkpXVCIsICJraWQiOiAicnNhIn0.eyJpc3MiOiAibG9naW4iLCAic3ViIj" \
    "ogImFsaWNlIiwgImF1ZCI6IFsic2hvcCIsICJwYXkiXSwgImV4cCI6IDQxMDI0NDQ4MDAsICJpYXQiOiAxNzAwMDAw" \
    "MDAwLCAic2NvcGUiOiAicmVhZCB3cml0ZSIsICJyb2xlcyI6IFsiYWRtaW4iLCAiZGV2Il0sICJyZWFsbSI6IHsibi" \
    "I6IDcsICJvayI6IHRydWV9LCAiZXZpbCI6ICJhXG5iIn0.Ab4U8DHKVdUV6RLS0S8dR9AsuG8jqDU-QoZjmJrnj6Km" \
    "NX52rMySfC4fH1HEFrb_nBWOVTK5_fodyHOI0DxmTNBb8gwKfwIbZzGkrxsVH1RPD02LWrHLdela-hJCjaZGB3J68b" \
    "XO6l92bml3Ng_hgvLMu9TOuSU3GnK1MnHt3o3cVOcN70VAEl6gB0nbAhWyyXAqC_SmgavtAl5ARhKiWA-MCCZOX0sH" \
    "6-FUFfOMHlUsqzpQtUvv36RvX9U9oqwEE7QQuKJGqDDkeCREtsw1mCdAIzx_5y5GrOrtHposjTQbBvA2QhyGbZQzSr" \
    "QOnAOInbRugKmCFomhMHdYScnNGg"

#define TOKEN_PS256                                                                              \
    "eyJhbGciOiAiUFMyNTYiLCAidHlwIjogIkpXVCIsICJraWQiOiAicnNhIn0.eyJpc3MiOiAibG9naW4iLCAic3ViIj" \
    "ogImFsaWNlIiwgImF1ZCI6IFsic2hvcCIsICJwYXkiXSwgImV4cCI6IDQxMDI0NDQ4MDAsICJpYXQiOiAxNzAwMDAw" \
    "MDAwLCAic2NvcGUiOiAicmVhZCB3cml0ZSIsICJyb2xlcyI6IFsiYWRtaW4iLCAiZGV2Il0sICJyZWFsbSI6IHsibi" \
    "I6IDcsICJvayI6IHRydWV9LCAiZXZpbCI6ICJhXG5iIn0.xZXjH21i_IqIwWS2eHcONuzSMmzL-P_Cx1katSkjC5mF" \
    "_3GvDHN-ebfRZLySxL7KA0WZfkT1cQhPXf4mZjnFku3BgEUDdpSAiXz-X2T_SSCYLmr_YwHQrLmhCBYMI5E4XOhbQ4" \
    "QoH6hNMdJV2_rfhY1jfngp86SHxMaouu39kYa_fa_D_MxAFDThNWozD_KDGwS5W5-KNCPXVXNDgdS62C459bxaTSWP" \
    "SLOCYlmSoZ0Mx-NIjPwV0FNJgJogorregsr2CI4eA_1ygG_fuKH6CWxMqNPIPDIAqFW6Uay_Mah9M1uPIyrRLjrbJs" \
    "1BbtBCUEmckczFFFEOegr4r54KKQ"

#define TOKEN_PS384                                                                              \
    "eyJhbGciOiAiUFMzODQiLCAidHlwIjogIkpXVCIsICJraWQiOiAicnNhIn0.eyJpc3MiOiAibG9naW4iLCAic3ViIj" \
    "ogImFsaWNlIiwgImF1ZCI6IFsic2hvcCIsICJwYXkiXSwgImV4cCI6IDQxMDI0NDQ4MDAsICJpYXQiOiAxNzAwMDAw" \
    "MDAwLCAic2NvcGUiOiAicmVhZCB3cml0ZSIsICJyb2xlcyI6IFsiYWRtaW4iLCAiZGV2Il0sICJyZWFsbSI6IHsibi" \
    "I6IDcsICJvayI6IHRydWV9LCAiZXZpbCI6ICJhXG5iIn0.6Zydh_7LLnAFPXY0MjNI5T-h8kkXGdNqf9864JGzoUks" \
    "7pFQgqxydGle8SBrKw23grwtoZyFy6meHWZc5Gf-_EBzaIDemA8qmfQqYU_yKYgvJb50WaChnWaoFdMaJoCbCiirfR" \
    "4QhzNW7dUODNT3F-O7R9ZsQx5MkVRevHMNAieiEgxFNx2zO87JWcc6mwHZPcVqQNbQe6AMqJJL3JOUJfuB5sZnFqNx" \
    "q1sU8ZZDsx8YPv7w2RwS8Rsnb25aX5AzplZ2yHpznZvio6sQs9YqVlBBr4Hjcuc7NySahuNweUlFyMzlZd3CpL1Gre" \
    "z5G8jD6qUHft8euw-7cSLMSigfaQ"

#define TOKEN_PS512                                                                              \
    "eyJhbGciOiAiUFM1MTIiLCAidHlwIjogIkpXVCIsICJraWQiOiAicnNhIn0.eyJpc3MiOiAibG9naW4iLCAic3ViIj" \
    "ogImFsaWNlIiwgImF1ZCI6IFsic2hvcCIsICJwYXkiXSwgImV4cCI6IDQxMDI0NDQ4MDAsICJpYXQiOiAxNzAwMDAw" \
    "MDAwLCAic2NvcGUiOiAicmVhZCB3cml0ZSIsICJyb2xlcyI6IFsiYWRtaW4iLCAiZGV2Il0sICJyZWFsbSI6IHsibi" \
    "I6IDcsICJvayI6IHRydWV9LCAiZXZpbCI6ICJhXG5iIn0.KzaEpq1PcKDShCPNg5As2wm4JtO2ZU1om_cdlIY7mADi" \
    "cJlyDf4M8Zfam7smR5B6Heq3W0NPCok86psfH6wdJ7vLV5hKCnKBViIg7TcdWluVd6f2Kfl2lTPrb-CmXbViGfUBsD" \
    "KacvBXbLKU0SiokFX_sSyS3dnf17XKReImj1Y1bmBca0Y2pEO6AtrsUbIC_1zEmrW3DIPfx4jEkyfSaBBvZDaWB9mg" \
    "19aYj2OhGR2yFZbMhhzzfn9LzPO-xLVWKDoE088yQAkPaZ0qMqUzTCw9y6m6kGdU-iWSpkaxd0SUugeFkKJ9k_23x_" \
    "lkYV4ljH4S_itCc-WvzbxgEUkcdw"

#define TOKEN_ES256                                                                              \
    "eyJhbGciOiAiRVMyNTYiLCAidHlwIjogIkpXVCIsICJraWQiOiAiZWMyNTYifQ.eyJpc3MiOiAibG9naW4iLCAic3V" \
    "iIjogImFsaWNlIiwgImF1ZCI6IFsic2hvcCIsICJwYXkiXSwgImV4cCI6IDQxMDI0NDQ4MDAsICJpYXQiOiAxNzAwM" \
    "DAwMDAwLCAic2NvcGUiOiAicmVhZCB3cml0ZSIsICJyb2xlcyI6IFsiYWRtaW4iLCAiZGV2Il0sICJyZWFsbSI6IHs" \
    "ibiI6IDcsICJvayI6IHRydWV9LCAiZXZpbCI6ICJhXG5iIn0.nKR24G1F7O9sG5bxuz597pxqNhSqze_2H3g2eWn5z" \
    "jt47lXAz0Uz0Lh_DH68b5o3_keeh5nYyTPGoqI_w8KUBg"

#define TOKEN_ES384                                                                              \
    "eyJhbGciOiAiRVMzODQiLCAidHlwIjogIkpXVCIsICJraWQiOiAiZWMzODQifQ.eyJpc3MiOiAibG9naW4iLCAic3V" \
    "iIjogImFsaWNlIiwgImF1ZCI6IFsic2hvcCIsICJwYXkiXSwgImV4cCI6IDQxMDI0NDQ4MDAsICJpYXQiOiAxNzAwM" \
    "DAwMDAwLCAic2NvcGUiOiAicmVhZCB3cml0ZSIsICJyb2xlcyI6IFsiYWRtaW4iLCAiZGV2Il0sICJyZWFsbSI6IHs" \
    "ibiI6IDcsICJvayI6IHRydWV9LCAiZXZpbCI6ICJhXG5iIn0.SyBaPriwFltg5PnDbQ1WoU4FF_63mZGOwrgeDvQFF" \
    "NCwvsyu2JA3fsxNm7waO0fGzQT7mDdSgEp6amlUeQQjTqjQdLh-msc_wdthp8cqW7CeAwq3V13QSXutfmKYGpco"

#define TOKEN_ES512                                                                              \
    "eyJhbGciOiAiRVM1MTIiLCAidHlwIjogIkpXVCIsICJraWQiOiAiZWM1MTIifQ.eyJpc3MiOiAibG9naW4iLCAic3V" \
    "iIjogImFsaWNlIiwgImF1ZCI6IFsic2hvcCIsICJwYXkiXSwgImV4cCI6IDQxMDI0NDQ4MDAsICJpYXQiOiAxNzAwM" \
    "DAwMDAwLCAic2NvcGUiOiAicmVhZCB3cml0ZSIsICJyb2xlcyI6IFsiYWRtaW4iLCAiZGV2Il0sICJyZWFsbSI6IHs" \
    "ibiI6IDcsICJvayI6IHRydWV9LCAiZXZpbCI6ICJhXG5iIn0.AK0lR17O_QszfvAIT9Tj5ZSEUcDKqbd9V9OIyL1wu" \
    "JiSAykKQik26ZSZhmQJ2QjL306PKCPmznnKGagGyJ9ZYvcRALTZOhd3lzTtl-rSTtx_whP7xqLkG5-bW3n3WajctNE" \
    "B2vnmDDhYiHH7W5zCL4OsrGCZWd1ptu5JmQN_rJXawm_w"

#define TOKEN_EDDSA                                                                              \
    "eyJhbGciOiAiRWREU0EiLCAidHlwIjogIkpXVCIsICJraWQiOiAiZWQifQ.eyJpc3MiOiAibG9naW4iLCAic3ViIjo" \
    "gImFsaWNlIiwgImF1ZCI6IFsic2hvcCIsICJwYXkiXSwgImV4cCI6IDQxMDI0NDQ4MDAsICJpYXQiOiAxNzAwMDAwM" \
    "DAwLCAic2NvcGUiOiAicmVhZCB3cml0ZSIsICJyb2xlcyI6IFsiYWRtaW4iLCAiZGV2Il0sICJyZWFsbSI6IHsibiI" \
    "6IDcsICJvayI6IHRydWV9LCAiZXZpbCI6ICJhXG5iIn0.ghDcWA7EosOA_8MZM048QwGXsSGEE4uspHG2b35KeV1_A" \
    "UcXbgo2YTTM5cOShFuKEZG7WOPtwvVRwMGgeWqCCA"

#define TOKEN_HS256                                                                              \
    "eyJhbGciOiAiSFMyNTYiLCAidHlwIjogIkpXVCIsICJraWQiOiAic2VjcmV0In0.eyJpc3MiOiAibG9naW4iLCAic3" \
    "ViIjogImFsaWNlIiwgImF1ZCI6IFsic2hvcCIsICJwYXkiXSwgImV4cCI6IDQxMDI0NDQ4MDAsICJpYXQiOiAxNzAw" \
    "MDAwMDAwLCAic2NvcGUiOiAicmVhZCB3cml0ZSIsICJyb2xlcyI6IFsiYWRtaW4iLCAiZGV2Il0sICJyZWFsbSI6IH" \
    "sibiI6IDcsICJvayI6IHRydWV9LCAiZXZpbCI6ICJhXG5iIn0.Pm1etew6mDPGanN5QJReXAPTdKzbpgE6kL2i7hiY" \
    "G9c"

#define TOKEN_HS384                                                                              \
    "eyJhbGciOiAiSFMzODQiLCAidHlwIjogIkpXVCIsICJraWQiOiAic2VjcmV0In0.eyJpc3MiOiAibG9naW4iLCAic3" \
    "ViIjogImFsaWNlIiwgImF1ZCI6IFsic2hvcCIsICJwYXkiXSwgImV4cCI6IDQxMDI0NDQ4MDAsICJpYXQiOiAxNzAw" \
    "MDAwMDAwLCAic2NvcGUiOiAicmVhZCB3cml0ZSIsICJyb2xlcyI6IFsiYWRtaW4iLCAiZGV2Il0sICJyZWFsbSI6IH" \
    "sibiI6IDcsICJvayI6IHRydWV9LCAiZXZpbCI6ICJhXG5iIn0.4eKF2NseW4hF0ZMaVWWvZFoa-U3kTNUoy7WO5MUX" \
    "kuoZfLHIbJO_N_HQ-qa7wKIv"

#define TOKEN_HS512                                                                              \
    "eyJhbGciOiAiSFM1MTIiLCAidHlwIjogIkpXVCIsICJraWQiOiAic2VjcmV0In0.eyJpc3MiOiAibG9naW4iLCAic3" \
    "ViIjogImFsaWNlIiwgImF1ZCI6IFsic2hvcCIsICJwYXkiXSwgImV4cCI6IDQxMDI0NDQ4MDAsICJpYXQiOiAxNzAw" \
    "MDAwMDAwLCAic2NvcGUiOiAicmVhZCB3cml0ZSIsICJyb2xlcyI6IFsiYWRtaW4iLCAiZGV2Il0sICJyZWFsbSI6IH" \
    "sibiI6IDcsICJvayI6IHRydWV9LCAiZXZpbCI6ICJhXG5iIn0.avVCdC4pQj2eFG1dlgYfdfxmNkwWA2M9K9o_wiak" \
    "rjnaos7bDp-CI-GDPt4K3dOeIyka_el3rcnaN3IhQPToNA"

#define TOKEN_CONFUSED                                                                           \
    "eyJhbGciOiAiSFMyNTYiLCAia2lkIjogInJzYSJ9.eyJpc3MiOiAibG9naW4iLCAic3ViIjogImFsaWNlIiwgImF1Z" \
    "CI6IFsic2hvcCIsICJwYXkiXSwgImV4cCI6IDQxMDI0NDQ4MDAsICJpYXQiOiAxNzAwMDAwMDAwLCAic2NvcGUiOiA" \
    "icmVhZCB3cml0ZSIsICJyb2xlcyI6IFsiYWRtaW4iLCAiZGV2Il0sICJyZWFsbSI6IHsibiI6IDcsICJvayI6IHRyd" \
    "WV9LCAiZXZpbCI6ICJhXG5iIn0.f9zcBXWhavhoMhNK_Os2yBDbIjk4CfsHm7S5atBt188"

#define TOKEN_NONE                                                                               \
    "eyJhbGciOiJub25lIn0.eyJpc3MiOiAibG9naW4iLCAic3ViIjogImFsaWNlIiwgImF1ZCI6IFsic2hvcCIsICJwYX" \
    "kiXSwgImV4cCI6IDQxMDI0NDQ4MDAsICJpYXQiOiAxNzAwMDAwMDAwLCAic2NvcGUiOiAicmVhZCB3cml0ZSIsICJy" \
    "b2xlcyI6IFsiYWRtaW4iLCAiZGV2Il0sICJyZWFsbSI6IHsibiI6IDcsICJvayI6IHRydWV9LCAiZXZpbCI6ICJhXG" \
    "5iIn0."

#define TOKEN_NONE_SIGNED                                                                        \
    "eyJhbGciOiJub25lIn0.eyJpc3MiOiAibG9naW4iLCAic3ViIjogImFsaWNlIiwgImF1ZCI6IFsic2hvcCIsICJwYX" \
    "kiXSwgImV4cCI6IDQxMDI0NDQ4MDAsICJpYXQiOiAxNzAwMDAwMDAwLCAic2NvcGUiOiAicmVhZCB3cml0ZSIsICJy" \
    "b2xlcyI6IFsiYWRtaW4iLCAiZGV2Il0sICJyZWFsbSI6IHsibiI6IDcsICJvayI6IHRydWV9LCAiZXZpbCI6ICJhXG" \
    "5iIn0.AA"

#define KEYS                                                                                                \
    "{\"keys\": [{\"kty\": \"RSA\", \"kid\": \"rsa\", \"use\": \"sig\", \"n\": "                            \
    "\"7buSMRzMI3-xfI5l4DuTmOLrKix7bYO"                                                                     \
    "VeF3Z85GHAox1aq3zju8YKUhwOAX50tpS0b7YY-_iTkqrLrk-KbDxuvdDATilCPDBIDWc46PaZRZNZMGZgKGmtA_k1"            \
    "mW9srWXYSZfnwzcVyzBYaP-1baDfKzYlUcfjOqHWAMBaQLQSoCktB7nEXqO5NKsxoMlVqYQWcU7nhaLNLkw3rJBxyE"            \
    "CR9i_veyn_v_UCAotbV4KdzZnEp0kX_skZK0v18ROJ-dVH824gyWlIzX2fx0MoV49wpcLBo75xyL9CUJhoGMKrYEv-"            \
    "DnvDs7sjK_fs02BXx9hgfo-wlQokokiG6x7gcogBQ\", \"e\": \"AQAB\"}, {\"kty\": \"EC\", \"kid\": \"ec256\", " \
    "\"c"                                                                                                   \
    "rv\": \"P-256\", \"x\": \"cf4oAVt_zBwCs1TY-_d7Q9Yli-dMLos0AyreieS1DpQ\", \"y\": \"5rjKSQTsCA4rBXWbTk"  \
    "QqZz1ttaWgNqY68j73FY_B4KY\"}, {\"kty\": \"EC\", \"kid\": \"ec384\", \"crv\": \"P-384\", \"x\": "       \
    "\"rQxZT4mrz"                                                                                           \
    "nNbq5Sdcd37JT_GUBdi7KM-KrTYKpd3kH8-bHSu7WTqx1VlNAXDMEbK\", \"y\": \"CVwngPWOK3ZoH-7s2SgDShQath"        \
    "31Pf1p0bMY1gmePYSK_TkRDiDWqjSEe36YB0fX\"}, {\"kty\": \"EC\", \"kid\": \"ec512\", \"crv\": \"P-521\", " \
    "\"x"                                                                                                   \
    "\": \"AbLJDygp8M7t4RKQrYCqRPleAbmxRAJi5YzcOUnScRFwUXRkyvTAvTpo71zbqSWK7Dw9WbwkEE4UPswjnJ1QWC"          \
    "zO\", \"y\": \"AdgkRRmWOSfbi7rJ2gIODcLQPZ9qSdPFiTFeulOV02EK155ry0N1Z8DvHE8qN4lUHWR3MCb1gp3W8ke"        \
    "aOfT_utEN\"}, {\"kty\": \"OKP\", \"kid\": \"ed\", \"crv\": \"Ed25519\", \"x\": "                       \
    "\"T2BXfwj1MWSFo6R5xyrgHUomZ"                                                                           \
    "ehwfZc5xm1KXgdHypQ\"}]}"

#define KEYS_USELESS                                                                                         \
    "{\"keys\": [{\"kty\": \"RSA\", \"kid\": \"small\", \"n\": "                                             \
    "\"w67d4f3oPO68rvIHS9-l3B9o3C2lYjMEc-wvy7lHlWv"                                                          \
    "HLLKdLbOdO6LbiSlEuCIctQP0srNII-0DvXvTM0d1xYbIi16qNhQ2Q2F5aGey0p_2eVPouxVlyKO44uwj5GkIqTQEO"             \
    "Bisy1JWGXguHT2oCmhtKBekdLhIpMeDY0Y1QGs\", \"e\": \"AQAB\"}, {\"kty\": \"RSA\", \"kid\": \"enc\", "      \
    "\"use\":"                                                                                               \
    " \"enc\", \"n\": \"7buSMRzMI3-xfI5l4DuTmOLrKix7bYOVeF3Z85GHAox1aq3zju8YKUhwOAX50tpS0b7YY-_iTkqr"        \
    "Lrk-KbDxuvdDATilCPDBIDWc46PaZRZNZMGZgKGmtA_k1mW9srWXYSZfnwzcVyzBYaP-1baDfKzYlUcfjOqHWAMBaQ"             \
    "LQSoCktB7nEXqO5NKsxoMlVqYQWcU7nhaLNLkw3rJBxyECR9i_veyn_v_UCAotbV4KdzZnEp0kX_skZK0v18ROJ-dV"             \
    "H824gyWlIzX2fx0MoV49wpcLBo75xyL9CUJhoGMKrYEv-DnvDs7sjK_fs02BXx9hgfo-wlQokokiG6x7gcogBQ\", \""           \
    "e\": \"AQAB\"}, {\"kty\": \"EC\", \"crv\": \"P-256\", \"x\": "                                          \
    "\"cf4oAVt_zBwCs1TY-_d7Q9Yli-dMLos0AyreieS1D"                                                            \
    "pQ\", \"y\": \"cf4oAVt_zBwCs1TY-_d7Q9Yli-dMLos0AyreieS1DpQ\"}, {\"kty\": \"oct\", \"k\": \"AAECAwQFBgc" \
    "ICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0-Pw\"}, {\"kty\": \"XY"         \
    "Z\"}, {\"kty\": \"RSA\", \"kid\": \"rsa\", \"use\": \"sig\", \"n\": "                                   \
    "\"7buSMRzMI3-xfI5l4DuTmOLrKix7bYOVeF3Z"                                                                 \
    "85GHAox1aq3zju8YKUhwOAX50tpS0b7YY-_iTkqrLrk-KbDxuvdDATilCPDBIDWc46PaZRZNZMGZgKGmtA_k1mW9sr"             \
    "WXYSZfnwzcVyzBYaP-1baDfKzYlUcfjOqHWAMBaQLQSoCktB7nEXqO5NKsxoMlVqYQWcU7nhaLNLkw3rJBxyECR9i_"             \
    "veyn_v_UCAotbV4KdzZnEp0kX_skZK0v18ROJ-dVH824gyWlIzX2fx0MoV49wpcLBo75xyL9CUJhoGMKrYEv-DnvDs"             \
    "7sjK_fs02BXx9hgfo-wlQokokiG6x7gcogBQ\", \"e\": \"AQAB\", \"alg\": \"ES256\"}, {\"kty\": \"RSA\", "      \
    "\"kid\":"                                                                                               \
    " \"rsa\", \"use\": \"sig\", \"n\": \"7buSMRzMI3-xfI5l4DuTmOLrKix7bYOVeF3Z85GHAox1aq3zju8YKUhwOAX50t"    \
    "pS0b7YY-_iTkqrLrk-KbDxuvdDATilCPDBIDWc46PaZRZNZMGZgKGmtA_k1mW9srWXYSZfnwzcVyzBYaP-1baDfKzY"             \
    "lUcfjOqHWAMBaQLQSoCktB7nEXqO5NKsxoMlVqYQWcU7nhaLNLkw3rJBxyECR9i_veyn_v_UCAotbV4KdzZnEp0kX_"             \
    "skZK0v18ROJ-dVH824gyWlIzX2fx0MoV49wpcLBo75xyL9CUJhoGMKrYEv-DnvDs7sjK_fs02BXx9hgfo-wlQokoki"             \
    "G6x7gcogBQ\", \"e\": \"AQAB\", \"alg\": \"HS256\"}, {\"kty\": \"OKP\", \"crv\": \"X25519\", \"x\": "    \
    "\"T2BXfwj1M"                                                                                            \
    "WSFo6R5xyrgHUomZehwfZc5xm1KXgdHypQ\"}, 7]}"

#define KEYS_SECRET                                               \
    "{\"keys\": [{\"kty\": \"oct\", \"kid\": \"secret\", \"k\": " \
    "\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh"                \
    "8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0-Pw\"}]}"

#define KEYS_RS256_ONLY                                                                          \
    "{\"keys\": [{\"kty\": \"RSA\", \"kid\": \"rsa\", \"use\": \"sig\", \"n\": "                 \
    "\"7buSMRzMI3-xfI5l4DuTmOLrKix7bYO"                                                          \
    "VeF3Z85GHAox1aq3zju8YKUhwOAX50tpS0b7YY-_iTkqrLrk-KbDxuvdDATilCPDBIDWc46PaZRZNZMGZgKGmtA_k1" \
    "mW9srWXYSZfnwzcVyzBYaP-1baDfKzYlUcfjOqHWAMBaQLQSoCktB7nEXqO5NKsxoMlVqYQWcU7nhaLNLkw3rJBxyE" \
    "CR9i_veyn_v_UCAotbV4KdzZnEp0kX_skZK0v18ROJ-dVH824gyWlIzX2fx0MoV49wpcLBo75xyL9CUJhoGMKrYEv-" \
    "DnvDs7sjK_fs02BXx9hgfo-wlQokokiG6x7gcogBQ\", \"e\": \"AQAB\", \"alg\": \"RS256\"}]}"

#define KEYS_NAMELESS                                                                            \
    "{\"keys\": [{\"kty\": \"RSA\", \"use\": \"sig\", \"n\": "                                   \
    "\"7buSMRzMI3-xfI5l4DuTmOLrKix7bYOVeF3Z85GHAox1a"                                            \
    "q3zju8YKUhwOAX50tpS0b7YY-_iTkqrLrk-KbDxuvdDATilCPDBIDWc46PaZRZNZMGZgKGmtA_k1mW9srWXYSZfnwz" \
    "cVyzBYaP-1baDfKzYlUcfjOqHWAMBaQLQSoCktB7nEXqO5NKsxoMlVqYQWcU7nhaLNLkw3rJBxyECR9i_veyn_v_UC" \
    "AotbV4KdzZnEp0kX_skZK0v18ROJ-dVH824gyWlIzX2fx0MoV49wpcLBo75xyL9CUJhoGMKrYEv-DnvDs7sjK_fs02" \
    "BXx9hgfo-wlQokokiG6x7gcogBQ\", \"e\": \"AQAB\"}]}"
