import { afterEach, beforeEach, expect, type Mock, test, vi } from 'vitest'

const viewer = {
  role: 'USER',
  permissions: [],
  mustChangePassword: false,
  user: { id: 'usr_1', email: 'a@b.c', name: 'a' },
}
const login = (token: string, seconds: number) => ({
  data: {
    refreshLogin: {
      accessToken: token,
      expiresAt: new Date(Date.now() + seconds * 1000).toISOString(),
      viewer,
    },
  },
})
const refused = (code: string) => ({ errors: [{ message: 'no', extensions: { code } }] })

let auth: typeof import('./auth')
let answer: Mock<(...call: unknown[]) => unknown>

beforeEach(async () => {
  vi.resetModules()
  answer = vi.fn()
  vi.stubGlobal('fetch', async (...call: unknown[]) => ({ json: async () => answer(...call) }))
  auth = await import('./auth')
})
afterEach(() => vi.unstubAllGlobals())

test('many who need a token at once cause one refresh', async () => {
  answer.mockResolvedValue(login('one', 900))
  expect(await Promise.all([auth.freshToken(), auth.freshToken(), auth.refresh()])).toEqual([
    'one',
    'one',
    'one',
  ])
  expect(answer).toHaveBeenCalledOnce()
})

test('a token that is about to expire is renewed, one that lasts is kept', async () => {
  answer.mockResolvedValueOnce(login('short', 20)).mockResolvedValueOnce(login('long', 900))
  expect(await auth.freshToken()).toBe('short')
  expect(await auth.freshToken()).toBe('long')
  expect(await auth.freshToken()).toBe('long')
  expect(answer).toHaveBeenCalledTimes(2)
})

test('a clear no ends the login', async () => {
  answer.mockResolvedValueOnce(login('one', 900)).mockResolvedValueOnce(refused('UNAUTHENTICATED'))
  expect(await auth.currentViewer()).toMatchObject({ id: 'usr_1' })
  expect(await auth.refresh()).toBeNull()
  expect(await auth.currentViewer()).toBeNull()
})

test.each([
  ['a server that cannot be reached', () => Promise.reject(new TypeError('Failed to fetch'))],
  ['too many requests', () => Promise.resolve(refused('RATE_LIMITED'))],
])('%s says nothing about the login', async (_, fails) => {
  answer.mockResolvedValueOnce(login('one', 900)).mockImplementationOnce(fails)
  await auth.currentViewer()
  expect(await auth.refresh()).toBeNull()
  expect(await auth.currentViewer()).toMatchObject({ id: 'usr_1' })
})

test.each([
  ['Korean-7', true],
  ['한국어비밀번호-7', true],
  ['short-7', false],
  ['no-digit-here', false],
  ['12345678-', false],
  ['nospecial7', false],
])('%s as a password: %s', (text, good) => {
  expect(Object.values(auth.PASSWORD_RULES).every((rule) => rule(text))).toBe(good)
})
