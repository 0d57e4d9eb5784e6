/** The connection to one shell: opened with a one-time ticket, resumed under the same id until the shell has ended. */

import { graphql } from '../../gql'
import { ApiError, ask, freshToken } from '../../shared/auth'
import { delay, waitOrOnline } from '../../shared/backoff'

const OPEN = graphql(`
  mutation OpenTerminal($input: OpenTerminalInput!) {
    openTerminal(input: $input) {
      terminalId
      url
    }
  }
`)
const CLOSE = graphql(`
  mutation CloseTerminal($input: CloseTerminalInput!) {
    closeTerminal(input: $input) {
      terminalId
    }
  }
`)

/** What trying again does not mend. */
const FINAL = ['NOT_FOUND', 'FORBIDDEN', 'BAD_USER_INPUT', 'CONFLICT', 'UNAUTHENTICATED']

export type LineState =
  | { is: 'open' }
  | { is: 'lost'; why: string }
  | { is: 'ended'; code: number | null }
  | { is: 'refused'; why: string }

/** What a line needs of the terminal that it fills. */
export type Screen = {
  cols: number
  rows: number
  reset(): void
  write(data: Uint8Array, done?: () => void): void
  onData(listener: (text: string) => void): { dispose(): void }
  onBinary(listener: (text: string) => void): { dispose(): void }
  onResize(listener: () => void): { dispose(): void }
}

export type Line = { close(): void; retry(): void }
type Options = {
  sessionId: string
  /** Which of its containers; by default main1. */
  kernelId?: string
  terminalId: string
  screen: Screen
  /** Whether the shell may be there already, with a past. */
  resumed: boolean
  onState: (state: LineState) => void
}

export function connect({ sessionId, kernelId, terminalId, screen, resumed, onState }: Options): Line {
  let socket: WebSocket | undefined
  let closed = false
  let ended = false
  let tries = 0
  /** Keys pressed before a new shell's connection stands; after a cut a banner says that nothing arrives. */
  let early: string[] | null = []
  /** The past is coming: the terminal must not answer what programs asked it back then. */
  let past = resumed
  let repeating = false
  const encoder = new TextEncoder()

  async function open() {
    let url: URL
    try {
      await freshToken()
      const { openTerminal } = await ask(OPEN, {
        input: { sessionId, kernelId, terminalId, columns: screen.cols, rows: screen.rows },
      })
      // The way to the server that this page came by also leads to its terminals.
      url = new URL(new URL(openTerminal.url, location.href).pathname, location.origin.replace('http', 'ws'))
    } catch (error) {
      if (closed) return
      if (error instanceof ApiError && FINAL.includes(error.code)) {
        onState({ is: 'refused', why: error.message })
      } else {
        await again(error instanceof ApiError ? error.message : '')
      }
      return
    }
    if (!closed) attach(new WebSocket(url))
  }

  function attach(made: WebSocket) {
    socket = made
    let problem = ''
    made.binaryType = 'arraybuffer'
    made.onopen = () => {
      // The node sends all that it kept of the screen: what is shown would be there twice.
      screen.reset()
      tries = 0
      onState({ is: 'open' })
      resize()
      for (const text of early ?? []) send(encoder.encode(text))
      early = null
    }
    made.onmessage = ({ data }: MessageEvent<ArrayBuffer | string>) => {
      if (typeof data !== 'string') {
        show(new Uint8Array(data))
        return
      }
      const message = JSON.parse(data) as { exit?: number | null; error?: string }
      if ('exit' in message) {
        ended = true
        onState({ is: 'ended', code: message.exit ?? null })
      }
      problem = message.error ?? problem
    }
    made.onclose = () => {
      if (made === socket && !ended && !closed) void again(problem)
    }
  }

  async function again(why: string) {
    onState({ is: 'lost', why })
    early = null
    past = true
    tries += 1
    await waitOrOnline(delay(tries, 8000))
    if (!closed) await open()
  }

  function show(data: Uint8Array) {
    if (!past) {
      screen.write(data)
      return
    }
    past = false
    repeating = true
    screen.write(data, () => {
      repeating = false
    })
  }

  function type(text: string) {
    if (repeating && text.startsWith('\x1b')) return
    if (early) early.push(text)
    else send(encoder.encode(text))
  }

  function send(data: string | Uint8Array<ArrayBuffer>) {
    if (socket?.readyState === WebSocket.OPEN) socket.send(data)
  }

  function resize() {
    send(JSON.stringify({ resize: [screen.cols, screen.rows] }))
  }

  /** A cut network closes no socket by itself; the browser knows sooner than the socket. */
  function cut() {
    const gone = socket
    socket = undefined
    gone?.close()
    if (gone && !ended && !closed) void again('')
  }

  const listeners = [
    screen.onData(type),
    screen.onBinary((text) => send(Uint8Array.from(text, (character) => character.charCodeAt(0)))),
    screen.onResize(resize),
  ]
  addEventListener('offline', cut)
  void open()
  return {
    close() {
      closed = true
      removeEventListener('offline', cut)
      for (const listener of listeners) listener.dispose()
      socket?.close()
    },
    retry() {
      ended = false
      past = false
      early = []
      void open()
    },
  }
}

/** End a shell for good; what cannot be reached ends with its session. */
export async function endShell(
  sessionId: string,
  kernelId: string | undefined,
  terminalId: string,
): Promise<void> {
  await freshToken()
  await ask(CLOSE, { input: { sessionId, kernelId, terminalId } }).catch(() => undefined)
}
