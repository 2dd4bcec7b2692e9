// node app.js PORT FOLDER [TLSv1.2]: what a tutorial on mutual TLS with Fastify ends with.
'use strict'
const fs = require('fs')
const [, , port, folder] = process.argv
const read = (name) => fs.readFileSync(`${folder}/${name}`)
const fastify = require('fastify')({
  bodyLimit: 16 * 1024 * 1024,
  https: {
    key: read('server.key'),
    cert: read('server.pem'),
    ca: read('ca.pem'),
    requestCert: true,
    rejectUnauthorized: true
  }
})
fastify.addContentTypeParser('*', { parseAs: 'buffer' }, (request, body, done) => done(null, body))
const answer = async (request) => {
  const socket = request.raw.socket
  return { subject: socket.getPeerCertificate().subject.CN, version: socket.getProtocol() }
}
fastify.get('/', answer)
fastify.post('/', answer)
fastify.listen({ port: Number(port), host: '127.0.0.1' })
