// Made with the openssl command; the numbers below are what it prints about the certificate.
// The keys protect nothing.

let knownFingerprint =
    "BC:51:32:7B:21:A9:04:01:DF:A3:20:93:1E:0B:80:F0:"
    + "C2:79:52:28:FF:F2:71:02:02:19:E2:30:D0:52:9D:FD"
let knownNotBefore: Int64 = 1795260693
let knownNotAfter: Int64 = 2110620693

let knownCertificate = """
    -----BEGIN CERTIFICATE-----
    MIIBmTCCAT+gAwIBAgIUcVc7IBy+OTn+0CIu2hlXUeAM5nMwCgYIKoZIzj0EAwIw
    EDEOMAwGA1UEAwwFa25vd24wHhcNMjYxMTIxMTEzMTMzWhcNMzYxMTE4MTEzMTMz
    WjAQMQ4wDAYDVQQDDAVrbm93bjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABGz0
    w8RMgw+YVQsu/ryL80kMdWdqiIeVRv89J0HnNIOO86e48RjY5TaeVAJRyo2lTGU3
    6HHv+Hu61+TVTUoiBWujdzB1MB0GA1UdDgQWBBRGPZTywNanEOv6bGZsZxQY7D2K
    izAfBgNVHSMEGDAWgBRGPZTywNanEOv6bGZsZxQY7D2KizAPBgNVHRMBAf8EBTAD
    AQH/MCIGA1UdEQQbMBmCEWtub3duLmV4YW1wbGUuY29thwTAAAIBMAoGCCqGSM49
    BAMCA0gAMEUCIQDhCVxupjixOYoEliJNjaW+MVal3Au8yZXDcgEohdb4IQIgXAeD
    TkMqr+ZX9SUcfUOhAQ0bIxwUOCjvUBB+FAv1pUU=
    -----END CERTIFICATE-----
    """

let knownKey = """
    -----BEGIN EC PARAMETERS-----
    BggqhkjOPQMBBw==
    -----END EC PARAMETERS-----
    -----BEGIN EC PRIVATE KEY-----
    MHcCAQEEIPOj4Wvdf1aSwcQVi2Vw+bezkauWawwVM8UEYMmUSFE+oAoGCCqGSM49
    AwEHoUQDQgAEbPTDxEyDD5hVCy7+vIvzSQx1Z2qIh5VG/z0nQec0g47zp7jxGNjl
    Np5UAlHKjaVMZTfoce/4e7rX5NVNSiIFaw==
    -----END EC PRIVATE KEY-----
    """

let encryptedKey = """
    -----BEGIN ENCRYPTED PRIVATE KEY-----
    MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAjZr28/Thwx9wICCAAw
    DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEIYhTfcBkaeeulmLx86/Ja8EgZCQ
    0laBR3dUCJVd0Gwo6mEwlVecSKjTqyBhX+WXwDMCjhWwTBcedTV+9FBa0xqAQ6fs
    wz5hlbMOaq8YSHNVYopXI5VVfvwnOOWsal9Cc53MKP1CoDqxM29nKYUFH4YZaadd
    W1OBZKX2r67h0HUHhsL533PoCca/nThoyJsssDGc6e7p2YUIvW3rX8SBkOJAlLM=
    -----END ENCRYPTED PRIVATE KEY-----
    """
