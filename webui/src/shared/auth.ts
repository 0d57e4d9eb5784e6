/** Who is logged in. The access token lives in memory only; the refresh token in a cookie that no script can read. */

import { useSyncExternalStore } from 'react'
import { belongTo, leaveNothing, onOwnerElsewhere } from './personal'

export type Viewer = {
  id: string
  email: string
  name: string
  role: 'SUPERADMIN' | 'DOMAIN_ADMIN' | 'USER'
  permissions: string[]
  mustChangePassword: boolean
}

type Login = { accessToken: string; expiresAt: string; viewer: RawViewer }
type RawViewer = {
  role: Viewer['role']
  permissions: string[]
  mustChangePassword: boolean
  user: { id: string; email: string; name: string }
}

export class ApiError extends Error {
  constructor(
    message: string,
    readonly code: string,
    readonly paths: string[][] = [],
  ) {
    super(message)
  }
}

/** Who is in; or, where a second factor is asked for, the ticket for `confirmLogin`. */
export type Entered = { viewer: Viewer } | { ticket: string }
type Half = { accessToken: null; secondFactor: { ticket: string } }

const LOGIN = 'accessToken expiresAt viewer { role permissions mustChangePassword user { id email name } }'

let token: { value: string; ends: number } | undefined
let viewer: Viewer | null | undefined
/** Whether the login ended by the user's own wish. */
let left = false
const listeners = new Set<() => void>()

/** Ask the API without the console's cache: for what happens before there is a login. */
export async function ask<T>(query: string, variables: Record<string, unknown> = {}): Promise<T> {
  const headers: Record<string, string> = { 'content-type': 'application/json' }
  if (token) headers.authorization = `Bearer ${token.value}`
  const response = await fetch('/graphql', {
    method: 'POST',
    credentials: 'same-origin',
    headers,
    body: JSON.stringify({ query, variables }),
  })
  const content = await response.json()
  const error = content.errors?.[0]
  if (error) {
    const paths = content.errors.map(
      (one: { extensions?: { path?: string[] } }) => one.extensions?.path ?? [],
    )
    throw new ApiError(error.message, error.extensions?.code ?? 'INTERNAL', paths)
  }
  return content.data
}

function take(login: Login): Viewer {
  token = { value: login.accessToken, ends: Date.parse(login.expiresAt) }
  const { user, ...rest } = login.viewer
  viewer = { ...user, ...rest }
  left = false
  belongTo(viewer.id)
  announce()
  return viewer
}

function enter(login: Login | Half): Entered {
  return login.accessToken === null ? { ticket: login.secondFactor.ticket } : { viewer: take(login) }
}

function announce() {
  for (const listener of listeners) listener()
}

export async function login(email: string, password: string): Promise<Entered> {
  const query = `mutation Login($input: LoginInput!) { login(input: $input) { ${LOGIN} secondFactor { ticket } } }`
  return enter((await ask<{ login: Login | Half }>(query, { input: { email, password } })).login)
}

export async function redeemTicket(ticket: string, newPassword: string): Promise<Entered> {
  const query = `mutation Redeem($input: RedeemTicketInput!) { redeemTicket(input: $input) { ${LOGIN} secondFactor { ticket } } }`
  const answer = await ask<{ redeemTicket: Login | Half }>(query, { input: { ticket, newPassword } })
  return enter(answer.redeemTicket)
}

export type LoginProvider = { name: string; title: string }

export type LegalText = { version: string; text: string; url: string | null }
/** What is offered to whoever is not logged in. */
export type Access = {
  signUpMode: 'CLOSED' | 'INVITATION' | 'OPEN'
  features: string[]
  loginProviders: LoginProvider[]
  termsOfService: LegalText | null
  privacyPolicy: LegalText | null
}

export async function accessOffered(): Promise<Access> {
  const query = `query AccessOffered { server { signUpMode features loginProviders { name title }
    termsOfService { version text url } privacyPolicy { version text url } } }`
  return (await ask<{ server: Access }>(query)).server
}

export type SignUp = {
  email: string
  name: string
  password: string
  language: string
  invitationToken?: string
  acceptedTermsVersion?: string
  acceptedPrivacyVersion?: string
}

export async function signUp(
  input: SignUp,
): Promise<{ verificationRequired: boolean; mailDelayed: boolean }> {
  const query =
    'mutation SignUp($input: SignUpInput!) { signUp(input: $input) { verificationRequired mailDelayed } }'
  type Answer = { signUp: { verificationRequired: boolean; mailDelayed: boolean } }
  return (await ask<Answer>(query, { input })).signUp
}

export async function requestPasswordReset(email: string): Promise<{ mailDelayed: boolean }> {
  const query =
    'mutation Forgot($input: RequestPasswordResetInput!) { requestPasswordReset(input: $input) { mailDelayed } }'
  type Answer = { requestPasswordReset: { mailDelayed: boolean } }
  return (await ask<Answer>(query, { input: { email } })).requestPasswordReset
}

export async function confirmLogin(ticket: string, code: string): Promise<Viewer> {
  const query = `mutation ConfirmLogin($input: ConfirmLoginInput!) { confirmLogin(input: $input) { ${LOGIN} } }`
  return take((await ask<{ confirmLogin: Login }>(query, { input: { ticket, code } })).confirmLogin)
}

export async function verifyEmail(token: string): Promise<string> {
  const query = 'mutation VerifyEmail($input: VerifyEmailInput!) { verifyEmail(input: $input) { email } }'
  return (await ask<{ verifyEmail: { email: string } }>(query, { input: { token } })).verifyEmail.email
}

export async function changePassword(currentPassword: string, newPassword: string): Promise<void> {
  const query = `mutation Change($input: ChangePasswordInput!) { changePassword(input: $input) { ${LOGIN} } }`
  take(
    (await ask<{ changePassword: Login }>(query, { input: { currentPassword, newPassword } })).changePassword,
  )
}

export async function logout(): Promise<void> {
  await ask('mutation Logout { logout { deletedId } }').catch(() => undefined)
  leave()
}

function leave() {
  left = true
  leaveNothing()
  forget()
}

/** Whether nobody is logged in because the user logged out, here or in another tab. */
export function hasLeft(): boolean {
  return left
}

// All tabs are one login: what another tab did holds here too.
onOwnerElsewhere((userId) => {
  if (!viewer) return
  if (userId === null) leave()
  else void refresh()
})

/** The login has ended, here or elsewhere. */
export function forget() {
  token = undefined
  viewer = null
  announce()
}

/** An access token that lasts a little longer; null when nobody is logged in. */
export async function freshToken(): Promise<string | null> {
  if (token && token.ends - Date.now() > 30_000) return token.value
  return refresh()
}

let refreshing: Promise<string | null> | undefined

/** Renew the login; one at a time over all tabs, for each refresh token counts once. */
export function refresh(): Promise<string | null> {
  refreshing ??= (navigator.locks ? navigator.locks.request('berth-refresh', renew) : renew()).finally(() => {
    refreshing = undefined
  })
  return refreshing
}

async function renew(): Promise<string | null> {
  const query = `mutation Refresh($input: RefreshLoginInput!) { refreshLogin(input: $input) { ${LOGIN} } }`
  try {
    take((await ask<{ refreshLogin: Login }>(query, { input: {} })).refreshLogin)
    return token?.value ?? null
  } catch (error) {
    // Only a clear no ends the login: a server that cannot be reached says nothing about it.
    if (error instanceof ApiError && error.code === 'UNAUTHENTICATED') forget()
    return null
  }
}

/** Who is logged in, asking the server once after the page was loaded. */
export async function currentViewer(): Promise<Viewer | null> {
  if (viewer === undefined) {
    token = undefined
    await refresh()
    viewer ??= null
  }
  return viewer
}

export function useViewer(): Viewer | null {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    () => viewer ?? null,
  )
}

export const PASSWORD_RULES = {
  length: (text: string) => text.length >= 8,
  letter: (text: string) => /\p{L}/u.test(text),
  digit: (text: string) => /\d/.test(text),
  special: (text: string) => /[^\p{L}\d\s]/u.test(text),
} as const
