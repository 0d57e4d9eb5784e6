import { afterEach, beforeEach, expect, type Mock, test, vi } from 'vitest'

class Socket {
  static readonly OPEN = 1
  static made: Socket[] = []
  readyState = 0
  binaryType = ''
  sent: (string | Uint8Array)[] = []
  onopen?: () => void
  onmessage?: (event: { data: unknown }) => void
  onclose?: () => void
  constructor(readonly url: URL) {
    Socket.made.push(this)
  }
  send(data: string | Uint8Array) {
    this.sent.push(data)
  }
  open() {
    this.readyState = 1
    this.onopen?.()
  }
  close() {
    this.readyState = 3
    this.onclose?.()
  }
}

const listener = () => ({ dispose: vi.fn() })
const screen = () => ({
  cols: 80,
  rows: 24,
  reset: vi.fn(),
  write: vi.fn<(data: Uint8Array, done?: () => void) => void>(),
  onData: vi.fn((_: (text: string) => void) => listener()),
  onBinary: vi.fn((_: (text: string) => void) => listener()),
  onResize: vi.fn((_: () => void) => listener()),
})

type Ask = (url: string, init: { body: string }) => Promise<unknown>
let answer: Mock<Ask>
let lines: { close(): void }[] = []
let connect: typeof import('./line').connect
const opened = { data: { openTerminal: { url: 'ws://elsewhere:1/terminals/ticket' } } }
const input = () =>
  answer.mock.calls.map((call) => JSON.parse(call[1].body)).filter((body) => /openTerminal/.test(body.query))

beforeEach(async () => {
  vi.useFakeTimers()
  vi.resetModules()
  Socket.made = []
  answer = vi.fn(async (_url: string, init: { body: string }) =>
    init.body.includes('refreshLogin') ? { errors: [{ message: 'down' }] } : opened,
  )
  vi.stubGlobal('fetch', async (...call: [string, { body: string }]) => ({
    json: async () => answer(...call),
  }))
  vi.stubGlobal('WebSocket', Socket)
  connect = (await import('./line')).connect
})
afterEach(() => {
  for (const line of lines) line.close()
  lines = []
  vi.useRealTimers()
  vi.unstubAllGlobals()
})

async function begin(resumed = false) {
  const onState = vi.fn()
  const made = screen()
  const line = connect({ sessionId: 'ses_1', terminalId: 'w1', screen: made, resumed, onState })
  lines.push(line)
  await vi.advanceTimersByTimeAsync(0)
  return { line, screen: made, onState, socket: () => Socket.made.at(-1) as Socket }
}

test('it connects to the host of the page, clears the screen, tells its size', async () => {
  const { screen, socket, onState } = await begin()
  expect(socket().url.href).toBe(`${location.origin.replace('http', 'ws')}/terminals/ticket`)
  socket().open()
  expect(screen.reset).toHaveBeenCalledOnce()
  expect(onState).toHaveBeenLastCalledWith({ is: 'open' })
  expect(socket().sent).toEqual(['{"resize":[80,24]}'])
})

test('bytes go both ways', async () => {
  const { screen, socket } = await begin()
  socket().open()
  screen.onData.mock.calls[0]?.[0]('é')
  expect(socket().sent.at(-1)).toEqual(new TextEncoder().encode('é'))
  socket().onmessage?.({ data: Uint8Array.from([104, 105]).buffer })
  expect(screen.write).toHaveBeenCalledWith(Uint8Array.from([104, 105]))
})

test('a cut resumes the same shell with a new ticket', async () => {
  const { socket, onState } = await begin()
  socket().open()
  socket().close()
  expect(onState).toHaveBeenLastCalledWith({ is: 'lost', why: '' })
  await vi.advanceTimersByTimeAsync(10_000)
  expect(Socket.made).toHaveLength(2)
  expect(input().map((body) => body.variables.input.terminalId)).toEqual(['w1', 'w1'])
  socket().open()
  expect(onState).toHaveBeenLastCalledWith({ is: 'open' })
})

test('when the browser is offline it is cut at once, and comes back when it is online', async () => {
  const { socket, onState } = await begin()
  socket().open()
  dispatchEvent(new Event('offline'))
  expect(onState).toHaveBeenLastCalledWith({ is: 'lost', why: '' })
  dispatchEvent(new Event('online'))
  await vi.advanceTimersByTimeAsync(0)
  expect(Socket.made).toHaveLength(2)
})

test('a shell that has ended is not asked for again until one wants it', async () => {
  const { line, socket, onState } = await begin()
  socket().open()
  socket().onmessage?.({ data: '{"exit":3}' })
  socket().close()
  await vi.advanceTimersByTimeAsync(60_000)
  expect(onState).toHaveBeenLastCalledWith({ is: 'ended', code: 3 })
  expect(Socket.made).toHaveLength(1)
  line.retry()
  await vi.advanceTimersByTimeAsync(0)
  expect(Socket.made).toHaveLength(2)
})

test('what trying again does not mend is told and left', async () => {
  answer.mockImplementation(async (_url: string, init: { body: string }) =>
    init.body.includes('refreshLogin')
      ? { errors: [{ message: 'down' }] }
      : { errors: [{ message: 'It does not run.', extensions: { code: 'CONFLICT' } }] },
  )
  const { onState } = await begin()
  expect(onState).toHaveBeenLastCalledWith({ is: 'refused', why: 'It does not run.' })
  await vi.advanceTimersByTimeAsync(60_000)
  expect(input()).toHaveLength(1)
})

test('closed is closed', async () => {
  const { line, socket } = await begin()
  socket().open()
  line.close()
  await vi.advanceTimersByTimeAsync(60_000)
  expect(Socket.made).toHaveLength(1)
})

test('what is typed while it first connects is not lost', async () => {
  const { screen, socket } = await begin()
  screen.onData.mock.calls[0]?.[0]('ls\r')
  socket().open()
  expect(socket().sent).toContainEqual(new TextEncoder().encode('ls\r'))
})

test('what is typed after a cut is lost, as the banner says', async () => {
  const { screen, socket } = await begin()
  socket().open()
  socket().close()
  screen.onData.mock.calls[0]?.[0]('rm\r')
  await vi.advanceTimersByTimeAsync(10_000)
  socket().open()
  expect(socket().sent.filter((one) => typeof one !== 'string')).toEqual([])
})

test('questions of programs in the past are not answered again, those of now are', async () => {
  const { screen, socket } = await begin(true)
  socket().open()
  const answers = () => socket().sent.filter((one) => typeof one !== 'string').length
  const asked = (done?: () => void) => {
    screen.onData.mock.calls[0]?.[0]('\x1b[?1;2c')
    done?.()
  }
  screen.write.mockImplementation((_: Uint8Array, done?: () => void) => asked(done))
  socket().onmessage?.({ data: new ArrayBuffer(3) })
  expect(answers()).toBe(0)
  socket().onmessage?.({ data: new ArrayBuffer(3) })
  expect(answers()).toBe(1)
})

test('what is typed while a new shell takes the place of one that ended is not lost', async () => {
  const { line, screen, socket } = await begin()
  socket().open()
  socket().onmessage?.({ data: '{"exit": 3}' })
  line.retry()
  screen.onData.mock.calls[0]?.[0]('ls\r')
  await vi.advanceTimersByTimeAsync(0)
  socket().open()
  expect(socket().sent).toContainEqual(new TextEncoder().encode('ls\r'))
})
