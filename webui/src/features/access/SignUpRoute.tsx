import { Alert, Anchor, Box, Button, Checkbox, Text, TextInput } from '@mantine/core'
import { Link } from '@tanstack/react-router'
import { useEffect, useState } from 'react'
import { useTranslation } from 'react-i18next'
import { type Access, accessOffered, type LegalText, signUp } from '../../shared/auth'
import { usePageTitle } from '../../shared/usePageTitle'
import { AccessCard } from './AccessCard'
import { acceptable, PasswordFields } from './PasswordFields'
import { useSubmission } from './useSubmission'

/** Where an invitation leads (its token after the #), and who finds the way alone where everybody may sign up. */
export default function SignUpRoute() {
  const { t, i18n } = useTranslation()
  const [offered, setOffered] = useState<Access>()
  const [token, setToken] = useState(() => location.hash.slice(1))
  const [email, setEmail] = useState('')
  const [name, setName] = useState('')
  const [password, setPassword] = useState({ first: '', second: '' })
  const [agreed, setAgreed] = useState({ terms: false, privacy: false })
  const [done, setDone] = useState<Awaited<ReturnType<typeof signUp>>>()
  const { submit, error, busy } = useSubmission(async () =>
    setDone(
      await signUp({
        email,
        name,
        password: password.first,
        language: i18n.language.startsWith('ko') ? 'ko' : 'en',
        ...(token ? { invitationToken: token } : {}),
        ...(offered?.termsOfService ? { acceptedTermsVersion: offered.termsOfService.version } : {}),
        ...(offered?.privacyPolicy ? { acceptedPrivacyVersion: offered.privacyPolicy.version } : {}),
      }),
    ),
  )
  useEffect(() => {
    accessOffered().then(setOffered, () => undefined)
  }, [])
  usePageTitle(t('signUp.title'))

  if (done)
    return (
      <AccessCard title={t('signUp.title')} subtitle={email} error={undefined} onSubmit={submit}>
        <Alert color="green" role="status">
          {t(done.verificationRequired ? 'signUp.verify' : 'signUp.done')}
          {done.mailDelayed && ` ${t('signUp.delayed')}`}
        </Alert>
        <ToLogin />
      </AccessCard>
    )
  if (offered?.signUpMode === 'CLOSED')
    return (
      <AccessCard title={t('signUp.title')} subtitle={t('signUp.closed')} error={undefined} onSubmit={submit}>
        <ToLogin />
      </AccessCard>
    )
  const missing =
    (offered?.termsOfService && !agreed.terms) ||
    (offered?.privacyPolicy && !agreed.privacy) ||
    (offered?.signUpMode === 'INVITATION' && !token)
  return (
    <AccessCard title={t('signUp.title')} subtitle={t('app.tagline')} error={error} onSubmit={submit}>
      <TextInput
        label={t('login.email')}
        type="email"
        autoComplete="username"
        value={email}
        onChange={(event) => setEmail(event.currentTarget.value)}
        required
        autoFocus
      />
      <TextInput
        label={t('signUp.name')}
        autoComplete="name"
        value={name}
        onChange={(event) => setName(event.currentTarget.value)}
        required
      />
      <PasswordFields value={password} onChange={setPassword} />
      {offered?.signUpMode === 'INVITATION' && (
        <TextInput
          label={t('signUp.token')}
          description={t('signUp.tokenHint')}
          value={token}
          onChange={(event) => setToken(event.currentTarget.value.trim())}
          required
        />
      )}
      {offered?.termsOfService && (
        <Agreement
          text={offered.termsOfService}
          what={t('signUp.terms')}
          checked={agreed.terms}
          onChange={(terms) => setAgreed({ ...agreed, terms })}
        />
      )}
      {offered?.privacyPolicy && (
        <Agreement
          text={offered.privacyPolicy}
          what={t('signUp.privacy')}
          checked={agreed.privacy}
          onChange={(privacy) => setAgreed({ ...agreed, privacy })}
        />
      )}
      <Button
        type="submit"
        loading={busy}
        disabled={!offered || !acceptable(password) || Boolean(missing)}
        fullWidth
        mt="xs"
      >
        {t('signUp.submit')}
      </Button>
      <ToLogin />
    </AccessCard>
  )
}

/** A text to be read, here or elsewhere, and the box that says that it was. */
function Agreement(props: {
  text: LegalText
  what: string
  checked: boolean
  onChange: (checked: boolean) => void
}) {
  const { t } = useTranslation()
  const { text, what } = props
  return (
    <div>
      {text.text && (
        <Box mah={120} mb={6} style={{ overflow: 'auto' }} tabIndex={0} role="region" aria-label={what}>
          <Text size="xs" style={{ whiteSpace: 'pre-wrap' }}>
            {text.text}
          </Text>
        </Box>
      )}
      <Checkbox
        label={
          <>
            {t('signUp.agree', { what, version: text.version })}{' '}
            {text.url && (
              <Anchor href={text.url} target="_blank" rel="noreferrer" inherit>
                {t('signUp.read')}
              </Anchor>
            )}
          </>
        }
        checked={props.checked}
        onChange={(event) => props.onChange(event.currentTarget.checked)}
      />
    </div>
  )
}

function ToLogin() {
  const { t } = useTranslation()
  return (
    <Anchor component={Link} to="/login" size="sm">
      {t('signUp.toLogin')}
    </Anchor>
  )
}
