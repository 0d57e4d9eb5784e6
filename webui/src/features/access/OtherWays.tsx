import { Anchor, Group } from '@mantine/core'
import { Link } from '@tanstack/react-router'
import { useEffect, useState } from 'react'
import { useTranslation } from 'react-i18next'
import { type Access, accessOffered } from '../../shared/auth'
import { ProviderButtons } from './ProviderButtons'

/** For whom email and password do not do: identity providers, a new account, a forgotten password; as far as they are offered. */
export function OtherWays({ next }: { next: string }) {
  const { t } = useTranslation()
  const [offered, setOffered] = useState<Access>()
  useEffect(() => {
    accessOffered().then(setOffered, () => undefined)
  }, [])
  if (!offered) return null
  return (
    <>
      <ProviderButtons providers={offered.loginProviders} next={next} />
      <Group justify="space-between">
        {offered.signUpMode !== 'CLOSED' && (
          <Anchor component={Link} to="/signup" size="sm">
            {t('signUp.title')}
          </Anchor>
        )}
        {offered.features.includes('PASSWORD_RESET') && (
          <Anchor component={Link} to="/forgot" size="sm">
            {t('forgot.link')}
          </Anchor>
        )}
      </Group>
    </>
  )
}
