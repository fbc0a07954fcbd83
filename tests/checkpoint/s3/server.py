"""A small S3 server on loopback that does harm on request: for tests of clients.

Prints its port and serves until its standard input ends. It verifies signatures (version 4), digests
and checksums of what it gets, keeps objects in memory, and knows the buckets `bucket` and `other`.

    POST /_control   JSON: what to forget, and what to do wrong from now on (see Control)
    GET /_state      JSON: objects, open uploads, requests by operation, faults that have happened

A fault is {"op": "UploadPart", "nth": 2, "times": 1, "do": "reset", "n": 100, "key": "MANIFEST"}: from
the nth request of that operation (whose key has that text in it) on, so many times.
"""
import base64, datetime, hashlib, hmac, http.server, json, os, random, re, socket, struct, sys, threading, time
import urllib.parse

ACCESS, SECRET = 'AKIDEXAMPLE', 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY'
TABLE = []
for byte in range(256):
    for _ in range(8):
        byte = byte >> 1 ^ (0x82f63b78 if byte & 1 else 0)
    TABLE.append(byte)


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 255]
    return base64.b64encode(struct.pack('>I', crc ^ 0xffffffff)).decode()


def iso(seconds):
    return datetime.datetime.utcfromtimestamp(seconds).strftime('%Y-%m-%dT%H:%M:%S.000Z')


def escape(text):
    return text.replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')


class Refused(Exception):
    def __init__(self, status, code, headers=None):
        super().__init__(code)
        self.status, self.code, self.headers = status, code, headers or {}


class Lost(Exception):
    """The connection ends without a word."""


class Control:
    """What is there, and what goes wrong."""

    def __init__(self):
        self.lock = threading.RLock()
        self.forget()

    def forget(self):
        self.objects = {}  # key: (bytes, seconds, checksum)
        self.uploads = {}  # id: (key, seconds, {number: (bytes, seconds)})
        self.plain({})

    def plain(self, wish):
        self.faults = wish.get('faults', [])
        self.chance = wish.get('chance', 0)  # of a fault with any request
        self.random = random.Random(wish.get('seed', 0))
        self.page = wish.get('page', 1000)
        self.condition = wish.get('condition', 'known')  # If-None-Match: known, ignored, refused
        self.checksums = wish.get('checksums', 'known')  # x-amz-checksum-*: known, ignored, refused
        self.many = wish.get('many', 'known')  # ?delete and ?uploads: known, refused
        self.token = wish.get('token', '')
        self.age = wish.get('age', 0)  # how long ago everything is said to have happened
        self.counts, self.happened, self.unsigned = {}, [], 0

    def fault(self, op, key):
        """What is to go wrong with this request."""
        with self.lock:
            self.counts[op] = self.counts.get(op, 0) + 1
            for fault in self.faults:
                if fault['op'] not in (op, 'any') or fault.get('key', '') not in key:
                    continue
                fault['seen'] = fault.get('seen', 0) + 1
                first = fault.get('nth', 1)
                if first <= fault['seen'] < first + fault.get('times', 1):
                    self.happened.append([op, key, fault['do']])
                    return fault
            if self.random.random() < self.chance:
                do = self.random.choice(['500', '503', '429', '408', 'reset', 'lost', 'cut', 'error200',
                                         'flip', 'crc', 'short'])
                self.happened.append([op, key, do])
                return {'do': do, 'n': self.random.randrange(2000)}
        return {'do': ''}


control = Control()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, *_):
        pass

    def do_GET(self):
        try:
            self.serve()
        except Lost:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            self.close_connection = True
            self.connection.close()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_PUT = do_POST = do_DELETE = do_HEAD = do_GET

    # ---- requests ----------------------------------------------------------------------------

    def serve(self):
        length = int(self.headers.get('content-length', 0))
        if self.path == '/_control':
            wish = json.loads(self.rfile.read(length))
            with control.lock:
                control.forget() if wish.get('forget') else None
                control.plain(wish)
            return self.answer(200, b'')
        if self.path == '/_state':
            with control.lock:
                return self.answer(200, json.dumps({
                    'objects': sorted(control.objects), 'unsigned': control.unsigned,
                    'uploads': [upload[0] for upload in control.uploads.values()],
                    'counts': control.counts, 'happened': control.happened}).encode())
        url, _, query = self.path.partition('?')
        self.raw_path, self.raw_query = url, query
        self.query = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        bucket, _, self.key = urllib.parse.unquote(url).lstrip('/').partition('/')
        fault = control.fault(self.operation(), self.key)
        do, n = fault['do'], fault.get('n', 0)
        if do == 'reset':
            self.rfile.read(min(n, length))
            raise Lost
        body = self.rfile.read(length)
        self.lost, self.cut = do == 'lost', n if do == 'cut' else None
        self.slow, self.crc, self.short = do == 'slow', do == 'crc', do == 'short'
        try:
            if do in ('307', '301'):
                raise Refused(int(do), 'PermanentRedirect', {'location': self.path,
                                                             'x-amz-bucket-region': 'eu-central-1'})
            if do in ('error200', 'fatal200'):
                code = 'InternalError' if do == 'error200' else 'InvalidPart'
                return self.answer(200, f'<?xml version="1.0"?>\n<Error><Code>{code}</Code></Error>'.encode())
            if do == 'garbage':
                return self.answer(200, b'<html>It works!')
            if do.isdigit():
                raise Refused(int(do), fault.get('code', {'503': 'SlowDown', '500': 'InternalError',
                                                          '403': 'AccessDenied'}.get(do, 'Fault')))
            self.verify(body)
            if bucket not in ('bucket', 'other'):
                raise Refused(404, 'NoSuchBucket')
            if do == 'flip' and body:
                body = bytes([body[0] ^ 1]) + body[1:]
            with control.lock:
                getattr(self, self.operation())(body)
        except Refused as refusal:
            xml = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{refusal.code}</Code></Error>'
            self.answer(refusal.status, xml.encode(), refusal.headers)

    def operation(self):
        q, key = self.query, self.key
        if self.command == 'GET':
            return ('ListUploads' if 'uploads' in q else 'ListParts' if 'uploadId' in q else
                    'Get' if key else 'List')
        if self.command == 'POST':
            return ('Begin' if 'uploads' in q else 'DeleteMany' if 'delete' in q else 'Complete')
        if self.command == 'PUT':
            return 'UploadPart' if 'uploadId' in q else 'Put'
        if self.command == 'DELETE':
            return 'Abort' if 'uploadId' in q else 'Delete'
        return 'Head'

    def verify(self, body):
        match = re.fullmatch(r'AWS4-HMAC-SHA256 Credential=(\w+)/(\d{8})/([\w-]+)/s3/aws4_request, ?'
                             r'SignedHeaders=([\w;-]+), ?Signature=([0-9a-f]{64})',
                             self.headers.get('authorization', ''))
        try:
            if not match:
                raise Refused(403, 'AccessDenied')
            access, day, region, names, signature = match.groups()
            for name in self.headers:
                if name.lower().startswith('x-amz-') and name.lower() not in names.split(';'):
                    raise Refused(403, 'AccessDenied')
            if 'host' not in names.split(';') or list(names.split(';')) != sorted(names.split(';')):
                raise Refused(403, 'AccessDenied')
            date, digest = self.headers['x-amz-date'], self.headers['x-amz-content-sha256']
            query = '&'.join(sorted(self.raw_query.split('&'))) if self.raw_query else ''
            canonical = '\n'.join(
                [self.command, self.raw_path, query] +
                [f'{name}:{" ".join(self.headers[name].split())}' for name in names.split(';')] +
                ['', names, digest])
            scope = f'{day}/{region}/s3/aws4_request'
            text = '\n'.join(['AWS4-HMAC-SHA256', date, scope, hashlib.sha256(canonical.encode()).hexdigest()])
            key = ('AWS4' + SECRET).encode()
            for step in (day, region, 's3', 'aws4_request'):
                key = hmac.new(key, step.encode(), 'sha256').digest()
            if access != ACCESS:
                raise Refused(403, 'InvalidAccessKeyId')
            if hmac.new(key, text.encode(), 'sha256').hexdigest() != signature or date[:8] != day:
                raise Refused(403, 'SignatureDoesNotMatch')
        except Refused:
            control.unsigned += 1
            raise
        if self.headers.get('x-amz-security-token', '') != control.token:
            raise Refused(400, 'ExpiredToken')
        if hashlib.sha256(body).hexdigest() != digest:
            raise Refused(400, 'XAmzContentSHA256Mismatch')
        if control.checksums == 'refused' and any(n.lower().startswith('x-amz-checksum-') for n in self.headers):
            raise Refused(501, 'NotImplemented')
        told = self.headers.get('x-amz-checksum-crc32c')
        if told and control.checksums == 'known' and told != crc32c(body):
            raise Refused(400, 'BadDigest')
        told = self.headers.get('content-md5')
        if told and told != base64.b64encode(hashlib.md5(body).digest()).decode():
            raise Refused(400, 'BadDigest')

    # ---- answers -----------------------------------------------------------------------------

    def answer(self, status, body, headers=None, length=None):
        if getattr(self, 'lost', False):
            raise Lost
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status not in (204,):
            self.send_header('content-length', str(len(body) if length is None else length))
        self.end_headers()
        if self.command == 'HEAD':
            body = b''
        if getattr(self, 'slow', False):
            self.wfile.flush()
            for byte in body or b'.':
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(1)
        cut = getattr(self, 'cut', None)
        if cut is not None:
            self.wfile.write(body[:min(cut, len(body) - 1)] if body else b'')
            self.wfile.flush()
            raise Lost
        self.wfile.write(body)
        self.wfile.flush()

    def xml(self, name, inner):
        self.answer(200, f'<?xml version="1.0" encoding="UTF-8"?>\n<{name} xmlns="http://s3.amazonaws.com/doc/'
                         f'2006-03-01/">{inner}</{name}>'.encode(), {'content-type': 'application/xml'})

    def stored(self, body, extra=None):
        """The headers that tell what was stored."""
        headers = {'etag': '"' + hashlib.md5(body).hexdigest() + '"', **(extra or {})}
        if self.crc:
            headers['etag'] = '"' + '0' * 32 + '"'
        if control.checksums == 'known' and 'x-amz-checksum-crc32c' in self.headers:
            headers['x-amz-checksum-crc32c'] = 'AAAAAA==' if self.crc else crc32c(body)
        return headers

    # ---- operations --------------------------------------------------------------------------

    def must_be_new(self):
        if self.headers.get('if-none-match') != '*' or control.condition == 'ignored':
            return
        if control.condition == 'refused':
            raise Refused(501, 'NotImplemented')
        if self.key in control.objects:
            raise Refused(412, 'PreconditionFailed')

    def Put(self, body):
        self.must_be_new()
        checksum = crc32c(body) if 'x-amz-checksum-crc32c' in self.headers else ''
        control.objects[self.key] = (body, time.time() - control.age, checksum)
        self.answer(200, b'', self.stored(body))

    def found(self):
        if self.key not in control.objects:
            raise Refused(404, 'NoSuchKey')
        return control.objects[self.key]

    def Head(self, _):
        body, _, checksum = self.found()
        headers = {'etag': '"x"'}
        if checksum and control.checksums == 'known':
            headers['x-amz-checksum-crc32c'] = 'AAAAAA==' if self.crc else checksum
        self.answer(200, b'', headers, len(body) - (1 if self.short else 0))

    def Get(self, _):
        body = self.found()[0]
        match = re.fullmatch(r'bytes=(\d+)-(\d+)', self.headers.get('range', ''))
        if not match:
            return self.answer(200, body)
        first, last = int(match[1]), min(int(match[2]), len(body) - 1)
        if first >= len(body):
            raise Refused(416, 'InvalidRange')
        part = body[first:last + 1]
        headers = {'content-range': f'bytes {first}-{last}/{len(body)}'}
        self.answer(206, part[:len(part) // 2] if self.short else part, headers)

    def Delete(self, _):
        control.objects.pop(self.key, None)
        self.answer(204, b'')

    def DeleteMany(self, body):
        if control.many == 'refused':
            raise Refused(501, 'NotImplemented')
        if 'content-md5' not in self.headers:
            raise Refused(400, 'InvalidRequest')
        for key in re.findall(r'<Key>(.*?)</Key>', body.decode()):
            control.objects.pop(key, None)
        self.xml('DeleteResult', '')

    def List(self, _):
        prefix, delimiter = self.query.get('prefix', ''), self.query.get('delimiter', '')
        names = {}
        for key in sorted(control.objects):
            if key.startswith(prefix):
                at = key.find(delimiter, len(prefix)) if delimiter else -1
                names[key if at < 0 else key[:at + 1]] = at < 0
        after = base64.b64decode(self.query.get('continuation-token', '')).decode()
        left = [name for name in sorted(names) if name > after]
        page, inner = left[:control.page], ''
        for name in page:
            if names[name]:
                body, seconds, _ = control.objects[name]
                inner += (f'<Contents><Key>{escape(name)}</Key><LastModified>{iso(seconds)}</LastModified>'
                          f'<Size>{len(body)}</Size></Contents>')
            else:
                inner += f'<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>'
        if len(left) > len(page):
            token = base64.b64encode(page[-1].encode()).decode()
            inner += f'<NextContinuationToken>{token}</NextContinuationToken>'
        self.xml('ListBucketResult', inner + f'<IsTruncated>{str(len(left) > len(page)).lower()}</IsTruncated>')

    def Begin(self, _):
        name = f'upload-{len(control.uploads)}-{os.urandom(4).hex()}=&+'
        control.uploads[name] = (self.key, time.time() - control.age, {})
        self.xml('InitiateMultipartUploadResult', f'<Key>{escape(self.key)}</Key><UploadId>{escape(name)}</UploadId>')

    def upload(self):
        if self.query['uploadId'] not in control.uploads:
            raise Refused(404, 'NoSuchUpload')
        return control.uploads[self.query['uploadId']]

    def UploadPart(self, body):
        self.upload()[2][int(self.query['partNumber'])] = (body, time.time() - control.age)
        self.answer(200, b'', self.stored(body))

    def Complete(self, body):
        key, _, parts = self.upload()
        told = re.findall(r'<PartNumber>(\d+)</PartNumber><ETag>(.*?)</ETag>(?:<ChecksumCRC32C>(.*?)</Checks)?',
                          body.decode())
        if control.checksums != 'known' and b'Checksum' in body:
            raise Refused(400, 'MalformedXML')
        whole, sums = b'', b''
        for number, etag, checksum in told:
            part = parts.get(int(number), (b'', 0))[0]
            if etag.strip('"').replace('&quot;', '') != hashlib.md5(part).hexdigest():
                raise Refused(400, 'InvalidPart')
            if checksum and control.checksums == 'known' and checksum != crc32c(part):
                raise Refused(400, 'InvalidPart')
            whole += part
            sums += base64.b64decode(crc32c(part))
        checksum = f'{crc32c(sums)}-{len(told)}' if told and told[0][2] else ''
        control.objects[key] = (whole, time.time() - control.age, checksum)
        del control.uploads[self.query['uploadId']]
        self.xml('CompleteMultipartUploadResult', f'<Key>{escape(key)}</Key><ETag>"x-{len(told)}"</ETag>')

    def Abort(self, _):
        self.upload()
        del control.uploads[self.query['uploadId']]
        self.answer(204, b'')

    def ListUploads(self, _):
        if control.many == 'refused':
            raise Refused(501, 'NotImplemented')
        prefix = self.query.get('prefix', '')
        after = (self.query.get('key-marker', ''), self.query.get('upload-id-marker', ''))
        left = sorted((u[0], name, u[1]) for name, u in control.uploads.items() if u[0].startswith(prefix))
        left = [u for u in left if (u[0], u[1]) > after]
        page = left[:control.page]
        inner = ''.join(f'<Upload><Key>{escape(key)}</Key><UploadId>{escape(name)}</UploadId>'
                        f'<Initiated>{iso(seconds)}</Initiated></Upload>' for key, name, seconds in page)
        if len(left) > len(page):
            inner += (f'<NextKeyMarker>{escape(page[-1][0])}</NextKeyMarker>'
                      f'<NextUploadIdMarker>{escape(page[-1][1])}</NextUploadIdMarker>')
        self.xml('ListMultipartUploadsResult', inner + f'<IsTruncated>{str(len(left) > len(page)).lower()}</IsTruncated>')

    def ListParts(self, _):
        parts = sorted(self.upload()[2].items())
        left = [part for part in parts if part[0] > int(self.query.get('part-number-marker', 0))]
        page = left[:control.page]
        inner = ''.join(f'<Part><PartNumber>{n}</PartNumber><LastModified>{iso(seconds)}</LastModified></Part>'
                        for n, (_, seconds) in page)
        if len(left) > len(page):
            inner += f'<NextPartNumberMarker>{page[-1][0]}</NextPartNumberMarker>'
        self.xml('ListPartsResult', inner + f'<IsTruncated>{str(len(left) > len(page)).lower()}</IsTruncated>')


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_):
        pass


server = Server(('127.0.0.1', 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_address[1], flush=True)
sys.stdin.buffer.read()
os._exit(0)
